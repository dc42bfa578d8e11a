// Capabilities: the bounding set that a container gets, and giving up everything else.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "isolation/security_spec.h"

namespace holm::isolation {

// A set of capabilities, as the kernel keeps it: bit N is capability number N.
struct CapabilitySet {
  uint64_t bits = 0;

  bool has(int number) const { return (bits >> number & 1) != 0; }
  void add(int number) { bits |= uint64_t{1} << number; }
  void remove(int number) { bits &= ~(uint64_t{1} << number); }
  bool operator==(const CapabilitySet&) const = default;
};

// The default profile (SECURITY: point 2) with the changes of the spec; throws a usage error that names a
// change which is not understood. Tells nothing about what the running kernel can give.
CapabilitySet bounding_set(const SecuritySpec& security);

// "net_raw"; "41" where Holm has no name for the number.
std::string capability_name(int number);
// "chown,net_raw".
std::string describe_capabilities(const CapabilitySet& set);
// Those that the running kernel has and this process may still give on: its own bounding set.
CapabilitySet current_bounding_set();

// Whom a payload runs as.
struct PayloadCredentials {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary
};

// Becomes the payload's user with at most `bounding`: root keeps that set, everybody else nothing;
// inheritable and ambient are empty. Then asks the kernel, and throws where anything is otherwise. Comes
// right before execve(2), after the system call filter. Runs in: the container's namespaces and root, with
// all capabilities of its user namespace.
void become_payload(const CapabilitySet& bounding, const PayloadCredentials& credentials);

}  // namespace holm::isolation
