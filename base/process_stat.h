// What /proc/PID/stat tells of a process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace holm {

class ProcessStat {
 public:
  // The text of the file; nothing where it is none.
  static std::optional<ProcessStat> parse(std::string_view text);

  char state() const;    // as in ps(1)
  pid_t parent() const;  // 0: none that the reader's pid namespace knows
  // By its number in proc_pid_stat(5), from 4 on; 0 where this kernel does not have it.
  uint64_t field(size_t number) const;

 private:
  std::vector<std::string> fields_;  // from the third on
};

// Nothing where there is no such process.
std::optional<ProcessStat> read_process_stat(pid_t pid);

}  // namespace holm
