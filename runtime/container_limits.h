// A container's limits on its way from the spec to the kernel: with the block devices that its files lie on.
#pragma once

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

}  // namespace holm::runtime
