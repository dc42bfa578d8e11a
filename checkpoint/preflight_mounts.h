// The mounts of a container's mount namespaces, and which of them CRIU refuses. Not for other files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "checkpoint/message_queues.h"
#include "checkpoint/preflight_finding.h"
#include "checkpoint/preflight_processes.h"
#include "quotas/mountinfo.h"

namespace holm::checkpoint {

struct ListedMount {
  quotas::MountEntry entry;
  uint64_t parent = 0;
  uint64_t shared = 0;  // its peer group; 0: none
  uint64_t master = 0;  // the peer group that it receives from
  bool is_read_only = false;
};
std::vector<ListedMount> parse_listed_mounts(std::string_view mountinfo);

struct MountNamespace {
  pid_t process = 0;  // which it was read from
  std::vector<ListedMount> mounts;
};

// The first is init's. `external`: the points of init's mounts that CRIU is told not to save.
Findings judge_mounts(const std::vector<MountNamespace>& namespaces,
                      const std::unordered_set<std::string>& external);

// What the files of processes are on: all mounts of all namespaces.
struct MountIndex {
  struct Place {
    std::string point;
    std::string type;
    bool is_covered = false;  // by another mount: CRIU opens files by their path, and finds others there
  };
  std::unordered_map<uint64_t, Place> places;          // by mount id
  std::unordered_map<std::string, std::string> types;  // by device "0:26"
};
MountIndex index_mounts(const std::vector<MountNamespace>& namespaces);

// Reads those of each namespace once. False in `is_complete` where the time is over.
std::vector<MountNamespace> read_mount_namespaces(const Tree& tree, const Deadline& deadline,
                                                  bool& is_complete);

// Mounts of POSIX message queues (mq_open(3)), and how CRIU is told to pass them over.
QueueObjects find_queue_mounts(const std::vector<MountNamespace>& namespaces,
                               const std::unordered_set<std::string>& external);

}  // namespace holm::checkpoint
