#include "runtime/settle.h"

#include <fmt/core.h>

#include <thread>

#include "base/error.h"
#include "base/step.h"
#include "base/sys.h"
#include "runtime/change_journal.h"
#include "runtime/cleanup.h"
#include "runtime/dump_moment.h"
#include "runtime/frozen_moment.h"
#include "runtime/host_side.h"
#include "runtime/restore_moment.h"
#include "runtime/spawn_monitor.h"
#include "runtime/suspended.h"
#include "runtime/upper_swap.h"

namespace holm::runtime {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

bool has_left_over(const Installation& installation, uint32_t number) {
  return container_cgroup(installation.paths, number)->exists();
}

bool is_populated(const Installation& installation, uint32_t number) {
  const auto cgroup = container_cgroup(installation.paths, number);
  return cgroup->exists() && !cgroup->processes().empty();
}

void write_stopped(const Installation& installation, State state, const std::string& reason) {
  state.phase = Phase::stopped;
  state.init = {};
  state.monitor = {};
  if (state.last_exit) {
    state.last_exit->reason +=
        "; its monitor was killed";  // so that the restart which that announces does not come
  } else {
    state.last_exit = ExitRecord{.status = kExitHolmFailed, .reason = reason, .at = std::time(nullptr)};
  }
  write_state(installation.paths, state);
}

// Looks when the monitor has dealt with an end of init that came just now: it writes what becomes of it.
Observation await_what_is_stopping(const Installation& installation, const std::string& name) {
  const auto end = Clock::now() + kMonitorPatience;
  for (;;) {
    Observation seen = look(installation, name);
    if (seen.condition != Condition::stopping || Clock::now() >= end) return seen;
    sys::pidfd_wait_ended(seen.monitor.get(), milliseconds(2));
  }
}

// Gives the container a monitor, and waits until its socket listens: until then an announcement would be
// lost.
void adopt(const Installation& installation, const Observation& seen) {
  MonitorOptions options;
  options.name = seen.name;
  options.adopt = true;
  options.remove_when_stopped = seen.state->remove_when_stopped;
  const Channel report = spawn_monitor(installation.paths, options, nullptr, {});
  const auto end = Clock::now() + kMonitorPatience;
  while (look(installation, seen.name).condition == Condition::orphaned && Clock::now() < end) {
    // It has ended; that of a command which was killed may be at work in its place.
    const bool has_ended = has_hung_up(report.fd());
    if (has_ended && FileLock::try_acquire(installation.paths.adoption_lock(seen.name))) return;
    std::this_thread::sleep_for(milliseconds(5));
  }
}

}  // namespace

Observation look(const Installation& installation, const std::string& name) {
  return observe(installation.paths, quotas::detect_cgroup_layout(), name);
}

void settle(const Installation& installation, const std::string& name) {
  Observation seen = await_what_is_stopping(installation, name);
  if (seen.has_init()) end_forgotten_moment(installation.paths, name, seen.state->number);
  if (container_exists(installation.paths, name)) {
    end_forgotten_dump(installation, seen);
    finish_forgotten_change(installation, seen);
    const bool runs = seen.condition == Condition::running || seen.condition == Condition::paused;
    if (runs) drop_suspended(installation.paths, name);
  }
  if (seen.condition == Condition::orphaned) {
    keep_forgotten_restore(installation, name);
    keep_new_upper(installation.paths, name);
    drop_suspended(installation.paths, name);
    remove_checkpoint_drafts(installation.paths, name);
    step("adopt the container", [&] { adopt(installation, seen); });
    return;
  }
  if (!container_exists(installation.paths, name)) return;
  if (seen.monitor) return remove_checkpoint_drafts(installation.paths, name);
  end_forgotten_restore(installation, name);
  settle_upper(installation.paths, name);
  settle_checkpoints(installation.paths, name);
  if (is_outlived(installation.paths, name)) {
    step("remove what the last boot left",
         [&] { remove_container_files(installation.paths, name, RunDirectory::keep); });
    return;
  }
  uint32_t number = 0;
  ignore_errors(
      [&] { number = load_identity(installation.paths, name).number; });  // damaged: nothing to find it by
  if (seen.condition == Condition::damaged) {
    // Whose processes these are is not known: perhaps a newer Holm's, or those of a monitor that will write
    // its record anew. Without any the record tells nothing that is still true.
    if (number == 0 || is_populated(installation, number)) return;
    step("drop the damaged record",
         [&] { sys::remove_file(installation.paths.runtime(name) + "/state.json"); });
  }
  const bool unfinished = seen.state && seen.state->phase != Phase::stopped;
  if (number == 0 || (!unfinished && !has_left_over(installation, number))) return;
  step("clean up after a killed monitor", [&] {
    remove_kernel_objects(installation.paths, number, last_look_of(installation.paths, name));
    if (unfinished)
      write_stopped(installation, *seen.state, "its monitor was killed before init ran or after it ended");
  });
}

void adopt_if_orphaned(const Installation& installation, const std::string& name) {
  require_container(installation.paths, name);
  if (look(installation, name).condition != Condition::orphaned) return;
  const FileLock lock = lock_container(installation.paths, name);
  settle(installation, name);
}

}  // namespace holm::runtime
