#include "runtime/exit_record.h"

#include <fmt/core.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <ctime>

namespace holm::runtime {
namespace {

std::string describe_status(const InitEnd& end, Intent intent) {
  if (intent == Intent::checkpoint) return "saved to a checkpoint";
  if (!end.known && intent == Intent::stop) return "stopped";
  if (!end.known) return "ended while no monitor watched it; its status is not known";
  if (is_reboot(end)) return "rebooted";
  if (is_power_off(end)) return "powered off";
  if (end.signal == 0) return fmt::format("exited with status {}", end.code);
  const char* name = sigabbrev_np(end.signal);
  return fmt::format("{}killed by signal {} ({})", intent == Intent::none ? "" : "stopped: ", end.signal,
                     name ? name : "?");
}

std::string describe_oom(const OomFacts& oom) {
  return oom.limit ? fmt::format("out of memory at {}; raise memory.limit", describe_bytes(*oom.limit))
                   : "out of memory: the host itself had none left";
}

}  // namespace

bool is_reboot(const InitEnd& end) { return end.signal == SIGHUP; }
bool is_power_off(const InitEnd& end) { return end.signal == SIGINT; }

ExitRecord describe_end(const InitEnd& end, const OomFacts& oom, Intent intent) {
  ExitRecord record;
  const bool clean = is_reboot(end) || is_power_off(end);
  record.signal = clean ? 0 : end.signal;
  record.status = !end.known ? 1 : clean ? 0 : end.signal ? 128 + end.signal : end.code;
  record.is_saved = intent == Intent::checkpoint;
  record.requested = intent != Intent::none;
  record.out_of_memory = oom.kills > 0 && record.status != 0 && intent == Intent::none;
  record.at = std::time(nullptr);
  if (record.out_of_memory && end.signal == SIGKILL) {
    record.reason = "killed: " + describe_oom(oom);
  } else {
    record.reason = describe_status(end, intent);
    if (record.out_of_memory)
      record.reason +=
          fmt::format("; the kernel killed {} of it: {}",
                      oom.victim.empty() ? "a process" : fmt::format("'{}'", oom.victim), describe_oom(oom));
  }
  return record;
}

Next decide_next(const ContainerSpec& spec, const InitEnd& end, Intent intent) {
  if (intent == Intent::stop || intent == Intent::checkpoint) return Next::stop;
  if (intent == Intent::reboot) return Next::start_again;
  if (is_reboot(end)) {
    if (spec.on_reboot == OnReboot::restart) return Next::start_again;
    return spec.on_reboot == OnReboot::destroy ? Next::destroy : Next::stop;
  }
  const bool crashed = !end.known || (end.signal != 0 && !is_power_off(end)) || end.code != 0;
  if (!crashed) return Next::stop;
  if (spec.on_crash == OnCrash::restart) return Next::start_after_pause;
  return spec.on_crash == OnCrash::destroy ? Next::destroy : Next::stop;
}

std::chrono::milliseconds restart_pause(unsigned crashes) {
  constexpr std::chrono::milliseconds kFirst(500), kLongest(60000);
  const unsigned doublings = std::min(crashes > 0 ? crashes - 1 : 0, 8U);
  return std::min(kFirst * (1 << doublings), kLongest);
}

}  // namespace holm::runtime
