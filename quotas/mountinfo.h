// The mounts of a process, as /proc/PID/mountinfo tells them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace holm::quotas {

// One line of it, as far as it matters here.
struct MountEntry {
  uint64_t id = 0;                         // as in statx(2)
  std::string device;                      // "0:26": of the file system, as in stat(2)
  std::string root;                        // what of the file system is mounted
  std::string point;                       // where
  std::string type;                        // "ext4"
  std::string source;                      // "/dev/vda1"
  std::vector<std::string> super_options;  // "upperdir=/upper": of the file system, not of this mount
};

// Nothing where the line is none of that file.
std::optional<MountEntry> parse_mount(std::string_view line);
std::vector<MountEntry> parse_mountinfo(std::string_view text);

}  // namespace holm::quotas
