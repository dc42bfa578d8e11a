#include "runtime/ending.h"

#include <fmt/core.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm::runtime {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A killed process may still wait in the kernel, for a disk for example.
constexpr milliseconds kKillPatience(15000);

// Whether init would notice the signal: it catches it, or blocks it to take it by sigwait(2) or signalfd(2).
// A signal without either the kernel drops, as init is pid 1 of its namespace.
bool notices_signal(pid_t init, int signal) {
  const auto status = read_file_if_exists(fmt::format("/proc/{}/status", init));
  if (!status) return false;
  for (const std::string_view field : {"\nSigCgt:\t", "\nSigBlk:\t"}) {
    const size_t at = status->find(field);
    if (at == std::string::npos) continue;
    const uint64_t mask = std::strtoull(status->c_str() + at + field.size(), nullptr, 16);
    if ((mask >> (signal - 1) & 1) != 0) return true;
  }
  return false;
}

struct PoliteSignal {
  int number;
  bool is_understood;  // the program is known to act on it
};

// The signal that an init takes as "power off": its program tells which init it is.
PoliteSignal polite_signal(pid_t init) {
  std::string program, name;
  ignore_errors([&] {  // it just ended
    program = sys::read_link(fmt::format("/proc/{}/exe", init));
    name = trim(read_file(fmt::format("/proc/{}/comm", init)));
  });
  program.erase(0, program.rfind('/') + 1);
  if (program == "systemd") return {SIGRTMIN + 3, true};  // systemd(1)
  if (program == "busybox" && (name == "init" || name == "linuxrc")) return {SIGUSR2, true};
  if (program == "init") return {SIGPWR, true};  // sysvinit: init(8)
  return {SIGTERM, notices_signal(init, SIGTERM)};
}

// An init that takes its signals by sigtimedwait(2) misses one that comes while it does something else.
bool ask_until_ended(const Observation& seen, int signal, milliseconds timeout) {
  constexpr milliseconds kAskAgain(500);
  const auto end = Clock::now() + timeout;
  for (bool asked = false;;) {
    if (!asked || !notices_signal(seen.state->init.pid, signal))
      asked = sys::pidfd_signal(seen.init.get(), signal);
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
    if (sys::pidfd_wait_ended(seen.init.get(), std::min(left, kAskAgain))) return true;
    if (left <= kAskAgain) return false;
  }
}

// SIGTERM to everything but init, where init itself would not notice one.
void signal_all_but_init(quotas::Cgroup& cgroup, pid_t init) {
  for (const pid_t pid : cgroup.processes()) {
    if (pid == init) continue;
    if (const auto process = sys::pidfd_open_if_alive(pid)) sys::pidfd_signal(process->get(), SIGTERM);
  }
}

}  // namespace

bool end_politely(quotas::Cgroup& cgroup, const Observation& seen, milliseconds timeout) {
  const pid_t init = seen.state->init.pid;
  const PoliteSignal signal = polite_signal(init);
  if (cgroup.is_frozen()) cgroup.thaw();
  if (signal.is_understood) return ask_until_ended(seen, signal.number, timeout);
  signal_all_but_init(cgroup, init);
  const auto end = Clock::now() + timeout;
  while (Clock::now() < end) {
    if (sys::pidfd_wait_ended(seen.init.get(), milliseconds(5))) return true;
    if (cgroup.processes().size() <= 1) return false;  // only init is left, and it will not go by itself
  }
  return false;
}

void kill_init(quotas::Cgroup& cgroup, const Observation& seen) {
  sys::pidfd_signal(seen.init.get(), SIGKILL);
  if (cgroup.is_frozen()) cgroup.thaw();  // v1's freezer keeps even the killed
  cgroup.lift_io_limits();
  if (!sys::pidfd_wait_ended(seen.init.get(), kKillPatience))
    throw Error("init does not end").hint("it waits in the kernel; see /proc/PID/stack, and the host's log");
}

}  // namespace holm::runtime
