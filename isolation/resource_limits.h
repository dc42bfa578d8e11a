// Resource limits (setrlimit(2)) of a container's processes. Their names stand in security_spec.h.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <map>
#include <string>

#include "isolation/security_spec.h"

namespace holm::isolation {

// The limit that a container gets where its spec is silent, from the one that it would inherit. Never needs a
// right.
rlimit default_limit(const std::string& name, const rlimit& inherited);

// Sets every limit of the process (0: this one): to the spec's value, soft and hard, or to the default that
// comes of this process's own.
// Raising a hard limit needs CAP_SYS_RESOURCE over the host, which nothing inside a user namespace has: the
// monitor calls this for the child. Throws with the host's hard limit and the cure where the kernel refuses.
void apply_resource_limits(const ResourceLimits& limits, pid_t process = 0);

// Some things the kernel counts for a user namespace as a whole, too: messages in POSIX queues, pending
// signals, locked memory. All namespaces that one user of the host has made count together, each with the
// limit that its maker had then as bound (create_user_ns(), inc_rlimit_ucounts()): so containers would share
// the 800 KiB of queues that a process usually may have. In this scope the calling process has no such
// limits, and gives none to the namespaces that it makes; nothing is changed where it lacks CAP_SYS_RESOURCE.
class UnlimitedNamespaces {
 public:
  UnlimitedNamespaces();
  ~UnlimitedNamespaces();
  UnlimitedNamespaces(const UnlimitedNamespaces&) = delete;
  UnlimitedNamespaces& operator=(const UnlimitedNamespaces&) = delete;

 private:
  std::map<int, rlimit> own_;
};

// What apply_resource_limits gives a process that inherited ours, by the resource's number.
std::map<int, rlimit> granted_limits(const ResourceLimits& limits);

// The limit that a process has now.
rlimit resource_limit_of(const std::string& name, pid_t process);
// Sets one limit of a process whose hard limit is `hard`; any other's stays. One that has ended is no error.
void change_resource_limit(const std::string& name, pid_t process, rlim_t hard, const rlimit& wanted);

}  // namespace holm::isolation
