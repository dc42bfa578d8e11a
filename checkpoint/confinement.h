// Asks the kernel whether restored processes have no more rights than started ones.
#pragma once

#include <sys/types.h>

#include "quotas/cgroup.h"
#include "runtime/container_store.h"

namespace holm::checkpoint {

// Throws unless all processes of init's pid namespace are in the container's groups, its user namespace, its
// filter and its bounding set. Called before any of them runs.
void check_confinement(const runtime::StoredContainer& container, const quotas::Cgroup& cgroup, pid_t init);

}  // namespace holm::checkpoint
