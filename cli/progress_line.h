// Shows how far something long is: one line that changes on a terminal, lines of JSON for programs, nothing
// else otherwise.
#pragma once

#include <chrono>
#include <mutex>
#include <string>

#include "checkpoint/progress.h"
#include "cli/command.h"

namespace holm::cli {

class ProgressLine {
 public:
  explicit ProgressLine(const Globals& globals);
  ~ProgressLine() { end(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // Also from another thread; at most some times a second it does more than to return.
  void show(const checkpoint::ProgressReport& report);
  // Takes the line away, so that something else can be printed.
  void end();

 private:
  using Clock = std::chrono::steady_clock;
  bool json_;
  bool terminal_;
  bool is_shown_ = false;
  std::mutex mutex_;
  std::string phase_;
  Clock::time_point begin_;
  Clock::time_point last_;
};

}  // namespace holm::cli
