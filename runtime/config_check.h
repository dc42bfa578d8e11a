// Policy on a whole spec: values that a host or a container cannot have, and values that contradict each
// other. Called on the merged spec (config file, template, command line), never on its parts alone
// (SECURITY.md).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "netsetup/nic_spec.h"
#include "quotas/limits.h"
#include "runtime/spec.h"

namespace holm::runtime {

// What the checks need to know of the host; what is not set is not checked.
struct HostFacts {
  quotas::CpuSet online_cpus;
  quotas::CpuSet online_nodes;
  // The subnets of mode "nat".
  std::optional<netsetup::InterfaceAddress> nat_network;
  std::optional<netsetup::InterfaceAddress> nat_network6;
  Bytes memory;  // zero: not known
};

struct SpecProblem {
  std::string place;  // of the value: "cpu.pin", "network[0].addresses[1]"
  std::string message;
  std::string hint;
};

std::vector<SpecProblem> find_problems(const ContainerSpec& spec, const HostFacts& host);

// Throws the first problem (exit status 2); the others follow as "also:" lines.
void check_spec(const ContainerSpec& spec, const HostFacts& host);

}  // namespace holm::runtime
