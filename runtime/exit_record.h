// How a run ended, in words, and what follows from it.
#pragma once

#include <chrono>
#include <optional>

#include "base/unit.h"
#include "runtime/control.h"
#include "runtime/spec.h"
#include "runtime/state.h"

namespace holm::runtime {

struct InitEnd {
  int code = 0;  // exit code, where signal is 0
  int signal = 0;
  bool known = true;  // false where Holm was not init's parent and the kernel does not tell
};

struct OomFacts {
  uint64_t kills = 0;
  std::optional<Bytes> limit;
  std::string victim;  // the process that was killed last; empty where that is not known
};

// The kernel ends a pid namespace's init by SIGHUP for reboot(RESTART) and by SIGINT for halt and power off
// (reboot(2)); nothing else can end init by these signals.
bool is_reboot(const InitEnd& end);
bool is_power_off(const InitEnd& end);

ExitRecord describe_end(const InitEnd& end, const OomFacts& oom, Intent intent);

enum class Next { stop, start_again, start_after_pause, destroy };
Next decide_next(const ContainerSpec& spec, const InitEnd& end, Intent intent);

// The pause before restart number `crashes` (1, 2, ...): 0.5 s, doubled each time, at most 60 s.
std::chrono::milliseconds restart_pause(unsigned crashes);

}  // namespace holm::runtime
