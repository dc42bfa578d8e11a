// The end of all processes in a container's groups. Not for other folders.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "quotas/group.h"

namespace holm::quotas {

// SIGKILL to every process of `tracker` and of its nested groups, frozen or not, until none is left; throws
// where some are left after `timeout`. Only processes that are in the tracker's tree are signalled.
void kill_groups(const std::vector<std::unique_ptr<Group>>& groups, Group& tracker,
                 std::chrono::milliseconds timeout);

}  // namespace holm::quotas
