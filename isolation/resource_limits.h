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

// Sets every limit of the process (0: this one): to the spec's value, soft and hard, or to the default.
// Raising a hard limit needs CAP_SYS_RESOURCE over the host, which nothing inside a user namespace has: the
// monitor calls this for the child. Throws with the host's hard limit and the cure where the kernel refuses.
void apply_resource_limits(const ResourceLimits& limits, pid_t process = 0);

// What apply_resource_limits gives a process that inherited ours, by the resource's number.
std::map<int, rlimit> granted_limits(const ResourceLimits& limits);

// The limit that a process has now.
rlimit resource_limit_of(const std::string& name, pid_t process);
// Sets one limit of a process whose hard limit is `hard`; any other's stays. One that has ended is no error.
void change_resource_limit(const std::string& name, pid_t process, rlim_t hard, const rlimit& wanted);

}  // namespace holm::isolation
