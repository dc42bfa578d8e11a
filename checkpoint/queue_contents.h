// What POSIX message queues hold, while nobody in their container runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/message_queues.h"
#include "quotas/cgroup.h"

namespace holm::checkpoint {

// How many bytes the queues of a checkpoint can have.
inline constexpr uint64_t kMaxQueued = 48 << 20;

// What CRIU is to pass over of all that the processes have open, which stand still: each queue is one.
std::vector<std::string> queue_file_externals(const quotas::Cgroup& cgroup, const QueueObjects& found);

// The kernel shows a message only to who takes it out. A child of ours, in the container's groups, so that
// the memory of messages stays the container's, takes them all and puts them back; it does so also where we
// are killed, and we where it is. `first_id`: the host's id of the container's root. The container's
// processes stand still, but its groups are not frozen.
std::vector<saved::Queue> save_queues(int file_system, const quotas::Cgroup& cgroup,
                                      const QueueObjects& found, uint32_t first_id);

}  // namespace holm::checkpoint
