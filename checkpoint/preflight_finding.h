// What the parts of the preflight tell each other. Not for other files.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace holm::checkpoint {

enum class Severity {
  obstacle,  // CRIU refuses it
  warning,   // CRIU passes it over, and the restored container lacks it
  delay,     // CRIU waits for it
};

struct Finding {
  Severity severity = Severity::obstacle;
  std::string object;
  std::string why;
  std::string cure;
  std::string identity = {};  // of what comes and goes by itself: that it is the same still; else empty
};

struct FindingOf {
  pid_t process = 0;  // on the host; 0: the container as a whole
  Finding finding;
};
using Findings = std::vector<FindingOf>;

class Deadline {
 public:
  explicit Deadline(std::chrono::milliseconds patience) : end_(Clock::now() + patience) {}
  bool is_over() const { return Clock::now() >= end_; }
  std::chrono::milliseconds left() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(end_ - Clock::now());
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point end_;
};

// --- the host's /proc, whose files vanish with their process: then there is nothing

UniqueFd open_process_directory(pid_t process, const std::string& below);
// The file's begin, whole lines; nothing where it is not there or the process has ended.
std::optional<std::string> read_begin(int directory, const std::string& name, size_t limit);
// A link's text as it stands there, which is the container's choice; empty where there is none.
std::string link_text(int directory, const std::string& name);

}  // namespace holm::checkpoint
