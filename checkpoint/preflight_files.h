// What processes hold open, and what of it CRIU refuses. Not for other files.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "checkpoint/preflight_finding.h"
#include "checkpoint/preflight_mounts.h"
#include "checkpoint/preflight_processes.h"

namespace holm::checkpoint {

// What the whole container has, against which one descriptor is judged.
struct FileRules {
  MountIndex mounts;
  std::unordered_set<uint64_t> namespaces;      // those of its processes
  dev_t shared_memory = 0;                      // the device of memfds, on which CRIU saves files by content
  bool maps_show_layers = false;                // before Linux 6.8, of a file that is mapped from an overlay
  bool has_huge_pages = false;                  // this host: else CRIU does not know them again
  std::optional<dev_t> queues;                  // the device of message queues, where a path leads to them
  std::string console;                          // "tty[8802:1a]", which the restore gets from outside
  std::unordered_set<std::string> given_pipes;  // "pipe:[1234]", as well
};
FileRules file_rules(const Tree& tree, const std::vector<MountNamespace>& mounts);

// A descriptor, working directory or program, as links of /proc and statx(2) tell of it.
struct HeldFile {
  std::string link;  // "/etc/passwd", "/tmp/x (deleted)"
  mode_t mode = 0;   // with the type
  dev_t device = 0;  // of a node
  dev_t file_system = 0;
  uint64_t mount = 0;
};

// Each answers nothing where CRIU takes it. `object` is left to the caller but for a beginning of it.
std::optional<Finding> judge_file(const HeldFile& file, const FileRules& rules);
// A descriptor of mq_open(3), whose mount nobody sees, or one that was opened by its path.
bool is_message_queue(const HeldFile& file, const FileRules& rules);
std::optional<Finding> judge_node(mode_t mode, dev_t device);
std::optional<Finding> judge_anonymous(std::string_view link);     // "anon_inode:[eventfd]"
std::optional<Finding> judge_protocol(std::string_view protocol);  // "TCPv6", "NETLINK"
std::optional<Finding> judge_namespace_file(std::string_view link, const FileRules& rules);
// What a message queue's file says.
std::optional<Finding> judge_queue(const std::string& text);
// The text of an inotify descriptor's /proc/PID/fdinfo.
std::optional<Finding> judge_watches(std::string_view fdinfo, const FileRules& rules);
// That of a pidfd's.
std::optional<Finding> judge_pidfd(std::string_view fdinfo, const Tree& tree);

struct HeldSocket {
  pid_t process = 0;
  int descriptor = 0;
  std::string protocol;
};

struct HeldFiles {
  Findings findings;
  std::unordered_map<uint64_t, HeldSocket> sockets;  // by inode
  bool has_queues = false;                           // message queues are among them
  bool is_complete = true;
};
// Looks at the descriptors, directories and programs of all of them.
HeldFiles find_held_files(const Tree& tree, const FileRules& rules, const Deadline& deadline);

}  // namespace holm::checkpoint
