// What the kernel's log tells of processes that it killed for want of memory.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace holm::quotas {

struct OomKill {
  std::string process;   // its name (comm), which is its own choice: not yet made safe for a terminal
  pid_t pid = 0;         // on the host
  bool by_limit = true;  // false: the host itself had no memory left
};

// One record of /dev/kmsg, where it tells of a kill in `group` ("/holm/7") or in one nested in it.
std::optional<OomKill> parse_oom_record(std::string_view record, std::string_view group);

// The kernel's log from now on. Where it cannot be read, nothing is ever found.
class OomLog {
 public:
  OomLog();
  // Kills in `group` since the last call.
  std::vector<OomKill> take(std::string_view group);

 private:
  UniqueFd log_;
};

}  // namespace holm::quotas
