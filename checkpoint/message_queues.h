// POSIX message queues (mq_overview(7)), which CRIU (4.2.1 was seen) does not save. In a dump their mounts
// and open descriptors are passed over as external; Holm saves what the queues hold, and what the images say
// of them becomes mounts and files as any other. A restore makes the queues before CRIU opens them by name.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quotas/cgroup.h"

namespace holm::checkpoint {

// CRIU's names for what it is told to pass over.
std::string queue_mount_external(const std::string& point);
std::string queue_file_external(uint64_t mount_id, uint64_t inode);

// How many bytes of messages a checkpoint can have.
inline constexpr uint64_t kMaxQueued = 48 << 20;

// What the kernel tells of a queue in its file.
struct QueueState {
  uint64_t bytes = 0;  // in its messages
  pid_t notified = 0;  // who is registered with mq_notify(3), in the reader's namespace; 0: nobody
};
QueueState parse_queue_state(const std::string& text);

// What a preflight found of them.
struct QueueObjects {
  struct Mount {
    uint64_t id = 0;
    std::string point;
    dev_t device = 0;
  };
  std::vector<std::string> externals;  // their mounts, as CRIU is told of them
  std::optional<Mount> mount;          // of their file system, where init has one
  bool are_open = false;               // a process has one open
};

// The same of all that these processes have open, which stand still: each queue is one.
std::vector<std::string> queue_file_externals(const std::vector<pid_t>& processes, const QueueObjects& found);

// Writes their image into `images`, none where there are no queues. The container's processes stand still,
// but their groups are not frozen: a message can only be taken out and put back, which is done in the
// container's name.
void save_queues(pid_t init, const quotas::Cgroup& cgroup, const QueueObjects& found,
                 const std::string& images);
// Makes what CRIU passed over the mounts and files that they were.
void name_queues(const std::string& images);

// Throws where the images have queues that none can be.
void check_queues(const std::string& images);
// In the IPC namespace of that process, whose limits stand.
void make_queues(const std::string& images, pid_t process, const quotas::Cgroup& cgroup);
// Once they are open: takes away the names that they got for it.
void remove_names_of_queues(const std::string& images, pid_t process);

}  // namespace holm::checkpoint
