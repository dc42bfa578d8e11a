// POSIX message queues (mq_overview(7)), which CRIU (4.2.1 was seen) does not save. In a dump their mounts
// and open descriptors are passed over as external; Holm saves what the queues hold (queue_contents.h), and
// what the images say of them becomes mounts and files as any other. A restore makes the queues before CRIU
// opens them by name.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "quotas/cgroup.h"

namespace holm::checkpoint {

namespace saved {
class Queue;
}  // namespace saved

// CRIU's names for what it is told to pass over.
std::string queue_mount_external(const std::string& point);
std::string queue_file_external(uint64_t mount_id, uint64_t inode);

// What a preflight found of them.
struct QueueObjects {
  struct Mount {
    uint64_t id = 0;
    std::string point;
    dev_t device = 0;
  };
  std::vector<std::string> externals;  // their mounts, as CRIU is told of them
  std::optional<Mount> mount;          // init's, by which they can be opened again
  bool are_open = false;               // a process has one open
};

// The file system of the queues of that process's IPC namespace; closed where the kernel has none.
UniqueFd open_queue_file_system(pid_t process);

// What the kernel tells of a queue in its file.
struct QueueState {
  uint64_t bytes = 0;  // in its messages
  pid_t notified = 0;  // who is registered with mq_notify(3), in the reader's namespace; 0: nobody
};
QueueState parse_queue_state(const std::string& text);

// Their image, which there is where there are queues.
void write_queues(const std::string& images, const std::vector<saved::Queue>& queues);
// Throws where it has queues that none can be.
std::vector<saved::Queue> read_queues(const std::string& images);
// Makes what CRIU passed over the mounts and files that they were.
void name_queues(const std::string& images, const QueueObjects& found);

// In the IPC namespace of that process, whose bounds stand.
void make_queues(const std::vector<saved::Queue>& queues, pid_t process, const quotas::Cgroup& cgroup);
// Once they are open: takes away the names that they got for it.
void remove_names_of_queues(const std::vector<saved::Queue>& queues, pid_t process);

}  // namespace holm::checkpoint
