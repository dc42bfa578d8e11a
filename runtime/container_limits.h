// A container's limits on its way from the spec to the kernel: with the block devices that its files lie on.
#pragma once

#include <sys/resource.h>

#include <string>
#include <vector>

#include "quotas/cgroup.h"
#include "runtime/paths.h"
#include "runtime/spec.h"

namespace holm::runtime {

// Writes all limits of a spec to its container's cgroup, at its start and whenever they change; returns
// warnings. The devices are looked up anew each time: those of its root, templates included, and of what is
// mounted into it.
std::vector<std::string> apply_limits(const Paths& paths, const ContainerSpec& spec, quotas::Cgroup& cgroup);

// Sets the limit [limits] NAME of all processes whose hard limit is `hard`: one that lowered its own on
// purpose, as sandboxes do, keeps it. Frozen, so that none is made or ends meanwhile.
void change_process_limits(const quotas::Cgroup& cgroup, const std::string& name, rlim_t hard,
                           const rlimit& wanted);

}  // namespace holm::runtime
