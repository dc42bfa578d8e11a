// The processes of a container as a checkpoint's manifest tells of them.
#pragma once

#include <sys/types.h>

#include <vector>

#include "checkpoint/manifest.h"

namespace holm::checkpoint {

// Read from the host's /proc; processes that end meanwhile are left out.
std::vector<SavedProcess> describe_processes(const std::vector<pid_t>& processes);

}  // namespace holm::checkpoint
