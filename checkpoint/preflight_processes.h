// The processes of a container as CRIU finds them, and what of them it refuses. Not for other files.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/preflight_finding.h"

namespace holm::checkpoint {

struct Task {
  pid_t pid = 0;              // on the host
  std::vector<pid_t> inside;  // in each nested pid namespace, from the host's on
  std::string program;        // printable
  char state = '?';           // as in ps(1)
  pid_t parent = 0;           // these three on the host
  pid_t group = 0;
  pid_t session = 0;
  pid_t tracer = 0;
  uint64_t threads = 0;
  bool has_session = true;                     // its session's leader is in its pid namespace
  bool is_root_on_host = true;                 // all ids of the host's root
  uint64_t memory_size = 0;                    // kB; 0: it has no memory any more
  std::map<std::string, uint64_t> namespaces;  // "uts" -> inode; empty for zombies
};

// The text of /proc/PID/status; nothing where it is none.
std::optional<Task> parse_task(std::string_view status);
// With its namespaces; nothing where it has ended.
std::optional<Task> read_task(pid_t pid);
// The number in "uts:[4026531838]" and in all links of that form; nothing for another type.
std::optional<uint64_t> object_number(std::string_view link, std::string_view type);

struct ProcessRules {
  bool has_user_namespace = true;
  bool may_read_limits = true;  // CAP_SYS_RESOURCE
  bool has_v1_freezer = false;  // which is what stops the container
};
std::vector<Finding> judge_task(const Task& task, const Task& init, const ProcessRules& rules);

// What CRIU would save: init and all that descend from it. In the order in which CRIU meets them.
struct Tree {
  std::vector<Task> tasks;
  std::unordered_map<pid_t, size_t> places;  // of each process in `tasks`
  bool is_complete = true;
  bool has_children_files = true;  // false: a kernel without /proc/PID/task/TID/children, which CRIU needs
  bool contains(pid_t process) const { return places.contains(process); }
  const Task& init() const { return tasks.front(); }
};
Tree find_tree(pid_t init, const Deadline& deadline);

// The processes in the container's cgroups before the tree was read, and after it. Of those that come and go
// meanwhile some are in one of the three only.
struct InGroups {
  std::vector<pid_t> before;
  std::vector<pid_t> after;
};
Findings judge_tree(const Tree& tree, const InGroups& in_groups, const ProcessRules& rules,
                    const Deadline& deadline);

}  // namespace holm::checkpoint
