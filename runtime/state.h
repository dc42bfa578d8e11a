// What is known of one container's run: /run/holm/NAME/state.json, written whole after each change by the
// process that made the change. Readers check it against the kernel (inventory.h) before they print any of
// it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "runtime/paths.h"

namespace holm::runtime {

// A process that cannot be mistaken for a later one with the same pid.
struct ProcessId {
  pid_t pid = 0;
  uint64_t start_time = 0;  // clock ticks since boot, field 22 of /proc/PID/stat
  bool operator==(const ProcessId&) const = default;
};
// Reads the start time of a living process; throws where there is none of that pid.
ProcessId identify_process(pid_t pid);
// A pidfd of exactly this process; nothing where it is gone (or a zombie) or its pid is another's now.
std::optional<UniqueFd> open_process(const ProcessId& process);
// Whether it lives at this moment: cheaper than a pidfd, for whoever does nothing with it.
bool is_alive(const ProcessId& process);

// The length of such a tick, and when the process started: the begin of its tick on CLOCK_BOOTTIME.
int64_t clock_tick_ns();
int64_t start_ns(const ProcessId& process);

enum class Phase {
  starting,    // the monitor is building it
  running,     // init executes
  restarting,  // init ended; the monitor waits before it starts the next
  stopped,     // no process, nothing in the kernel
};
const char* phase_name(Phase phase);

// How a run ended.
struct ExitRecord {
  int status = 0;  // exit code, or 128 + signal
  int signal = 0;  // the signal that ended init, 0 for none
  bool out_of_memory = false;
  bool is_saved = false;   // its processes go on living in a checkpoint
  bool requested = false;  // holm stop, kill, reboot or destroy asked for it
  std::string
      reason;  // a sentence: "exited with status 3", "killed: out of memory at 64 MiB; raise memory.limit"
  int64_t at = 0;  // seconds since the epoch
};

// The last process of a run that the kernel killed for want of memory.
struct OomVictim {
  std::string process;  // printable
  pid_t pid = 0;        // on the host
  int64_t at = 0;       // seconds since the epoch
};

struct State {
  std::string name;
  uint32_t number = 0;
  Phase phase = Phase::stopped;
  bool is_complete =
      false;  // while starting: its processes are whole, and run on should the monitor be killed
  ProcessId init;
  ProcessId monitor;
  std::string boot_id;     // /proc/sys/kernel/random/boot_id of the boot that the pids belong to
  int64_t started_at = 0;  // seconds since the epoch
  unsigned restarts = 0;   // since the last start by a person
  std::vector<std::string> addresses;
  std::vector<std::string> interfaces;  // those of the config, in its order: "eth0"
  std::vector<std::string> warnings;
  std::optional<ExitRecord> last_exit;
  std::optional<OomVictim> oom_victim;
  bool remove_when_stopped = false;
};

// Nothing where there is no such file. A file that is no valid state of a known version is an Error.
std::optional<State> read_state(const Paths& paths, const std::string& name);
void write_state(const Paths& paths, const State& state);
// For tests and for the two functions above.
std::string encode_state(const State& state);
State decode_state(const std::string& text);

std::string current_boot_id();

}  // namespace holm::runtime
