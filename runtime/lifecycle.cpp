#include "runtime/lifecycle.h"

#include <fmt/core.h>
#include <poll.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/interruption.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/account.h"
#include "runtime/cleanup.h"
#include "runtime/ending.h"
#include "runtime/host_side.h"
#include "runtime/settle.h"
#include "runtime/spawn_monitor.h"
#include "runtime/suspended.h"

namespace holm::runtime {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// As `look`, after the record was brought in line with the kernel, so that an end is not missed. Takes the
// lock where there is something to do.
Observation look_settled(const Installation& installation, const std::string& name) {
  Observation seen = look(installation, name);
  const bool is_outdated =
      seen.condition == Condition::stopped && seen.state && seen.state->phase != Phase::stopped;
  if (seen.condition != Condition::orphaned && !is_outdated) return seen;
  const FileLock lock = lock_container(installation.paths, name);
  settle(installation, name);
  return look(installation, name);
}

Observation require_running(const Installation& installation, const std::string& name) {
  Observation seen = look(installation, name);
  if (seen.condition == Condition::damaged)
    throw Error(seen.problem)
        .hint(fmt::format("'holm gc' repairs what it can; 'holm destroy --force {}' removes the container",
                          name));
  if (!seen.has_init()) throw not_running(name);
  return seen;
}

// Waits until the monitor has started the next init, or has given up.
void await_restart(const Installation& installation, const Observation& before) {
  const auto end = Clock::now() + kMonitorPatience;
  while (Clock::now() < end) {
    const Observation now = look(installation, before.name);
    if (now.has_init() && now.state->init != before.state->init && now.condition == Condition::running)
      return;
    if (now.condition == Condition::stopped)
      throw Error("it did not start again: " +
                  (now.state && now.state->last_exit ? now.state->last_exit->reason : "its monitor ended"));
    std::this_thread::sleep_for(milliseconds(5));
  }
  throw Error("it is not running again yet")
      .hint(fmt::format("'holm list -a' and 'holm log --monitor {}' tell more", before.name));
}

// A monitor that removes its container takes the lock for it, which the caller holds: it says before that all
// of the run is gone.
bool has_recorded_end(const Installation& installation, const std::string& name) {
  const Observation now = look(installation, name);
  return now.state && now.state->phase == Phase::stopped;
}

// Waits until the monitor has recorded that init's run is over.
void await_monitor(const Installation& installation, const Observation& seen) {
  if (!seen.monitor) return;
  if (seen.state->remove_when_stopped) {
    const auto end = Clock::now() + kMonitorPatience;
    while (Clock::now() < end) {
      if (sys::pidfd_wait_ended(seen.monitor.get(), milliseconds(2))) return;
      if (has_recorded_end(installation, seen.name)) return;
    }
  }
  if (sys::pidfd_wait_ended(seen.monitor.get(), kMonitorPatience)) return;
  sys::pidfd_signal(seen.monitor.get(), SIGKILL);
  sys::pidfd_wait_ended(seen.monitor.get(), milliseconds(2000));
  settle(installation, seen.name);
}

// Where this command is told to end meanwhile, it still waits: a monitor that can call its start off does so.
void await_running(Channel& report) {
  while (Interruption::fd() >= 0 && !Interruption::has_come()) {
    pollfd wanted[2] = {{report.fd(), POLLIN, 0}, {Interruption::fd(), POLLIN, 0}};
    if (::poll(wanted, 2, -1) < 0 && errno != EINTR) throw Error::system("wait for the monitor");
    if (wanted[0].revents) break;
  }
  if (!Interruption::has_come()) {
    report.expect(Message::running);
    return;
  }
  report.hang_up();
  try {
    report.expect(Message::running);  // what was too late for it
  } catch (const Error&) {
    Interruption::check();
    throw;
  }
}

// Settles what a start that failed left. The report of a monitor that was killed ends a moment before the
// monitor does, and until then the container counts as one that is being started.
void settle_failed_start(const Installation& installation, const std::string& name) {
  const Observation seen = look(installation, name);
  if (seen.monitor && seen.condition != Condition::stopped)
    sys::pidfd_wait_ended(seen.monitor.get(), kMonitorPatience);
  settle(installation, name);
}

}  // namespace

NamedContainer create_from_file(const Installation& installation, const ConfigFile& config,
                                Durability durability) {
  const std::string& name = config.spec.name;
  const FileLock lock = lock_name(installation.paths, name);
  settle(installation, name);
  if (!container_exists(installation.paths, name)) {
    create_container(installation, config, durability);
    return {name, true};
  }
  const StoredContainer stored = load_container(installation, name);
  if (stored.config.text == config.text) return {name};
  if (look(installation, name).condition != Condition::stopped)
    throw Error(fmt::format("container '{}' runs with another configuration than '{}'", name, config.path))
        .hint("stop it first; the next start takes the file");
  replace_config(installation, stored, config);
  return {name};
}

StartedContainer start(const Installation& installation, StartOptions options) {
  const FileLock lock = lock_container(installation.paths, options.monitor.name);
  return start_locked(installation, std::move(options), lock);
}

StartedContainer start_locked(const Installation& installation, StartOptions options, const FileLock& lock) {
  const std::string& name = options.monitor.name;
  const bool is_restore = !options.monitor.checkpoint.empty();  // which says so itself
  const auto run = [&] {
    settle(installation, name);
    const Observation before = look(installation, name);
    if (before.condition == Condition::damaged)
      throw Error(before.problem).hint(fmt::format("'holm destroy --force {}' removes the container", name));
    if (before.condition != Condition::stopped)
      throw Error(fmt::format("it is {} already", condition_name(before.condition)));
    if (!is_restore && is_suspended(installation.paths, name))
      throw Error("its processes wait in the checkpoint that it was stopped with")
          .hint(fmt::format("'holm start {0}' goes on from there; 'holm start --fresh {0}' gives them up",
                            name));
    Channel report = step("start the monitor", [&] {
      return spawn_monitor(installation.paths, options.monitor, &lock, options.streams);
    });
    options.streams.clear();
    try {
      await_running(report);
    } catch (...) {
      settle_failed_start(installation, name);
      throw;
    }
    drop_pre_dumps(installation.paths, name);
    drop_suspended(installation.paths, name);  // it was this one, or is not true any more
    auto state = read_state(installation.paths, name);
    if (!state) throw Error("its monitor wrote no state");
    return StartedContainer{std::move(report), std::move(*state)};
  };
  return is_restore ? run() : with_frame(fmt::format("cannot start container '{}'", name), run);
}

void await_end(const Installation& installation, const std::string& name) {
  const Observation seen = look(installation, name);
  if (!seen.state) return;
  await_monitor(installation, seen);
  remove_kernel_objects(installation.paths, seen.state->number, last_look_of(installation.paths, name));
}

namespace {

// `monitor` becomes that of the run, where it has yet to remove the container.
Stopped stop_locked(const Installation& installation, const std::string& name, const StopOptions& options,
                    UniqueFd& monitor) {
  const FileLock lock = lock_container(installation.paths, name);
  return with_frame(fmt::format("cannot stop container '{}'", name), [&] {
    settle(installation, name);
    Observation seen = look(installation, name);
    if (seen.condition == Condition::stopped) return Stopped::was_not_running;
    if (seen.condition == Condition::damaged) throw Error(seen.problem);
    step("announce the stop", [&] { announce_intent(installation.paths.runtime(name), options.intent); });
    seen = look(installation, name);  // after the announcement no further init is started
    Stopped how = Stopped::politely;
    if (seen.has_init()) {
      const auto cgroup = container_cgroup(installation.paths, seen.state->number);
      const bool gone = !options.kill_at_once &&
                        step("ask init to end", [&] { return end_politely(*cgroup, seen, options.timeout); });
      if (!gone) {
        how = Stopped::killed;
        step("kill init", [&] { kill_init(*cgroup, seen); });
      }
    }
    if (options.intent == Intent::reboot) {
      step("await the restart", [&] { await_restart(installation, seen); });
      return how;
    }
    step("await the monitor", [&] { await_monitor(installation, seen); });
    remove_kernel_objects(
        installation.paths, seen.state->number,
        last_look_of(installation.paths, name));  // normally only the link, which the monitor leaves
    if (seen.state->remove_when_stopped) monitor = std::move(seen.monitor);
    return how;
  });
}

}  // namespace

Stopped stop(const Installation& installation, const std::string& name, const StopOptions& options) {
  UniqueFd monitor;
  const Stopped how = stop_locked(installation, name, options, monitor);
  if (monitor) sys::pidfd_wait_ended(monitor.get(), kMonitorPatience);
  return how;
}

void send_signal(const Installation& installation, const std::string& name, int signal) {
  adopt_if_orphaned(installation, name);
  const Observation seen = require_running(installation, name);
  sys::pidfd_signal(seen.init.get(), signal);
}

void pause(const Installation& installation, const std::string& name) {
  const FileLock lock = lock_container(installation.paths, name);
  settle(installation, name);
  const Observation seen = require_running(installation, name);
  if (seen.condition == Condition::paused) throw Error(fmt::format("container '{}' is paused already", name));
  step("freeze", [&] { container_cgroup(installation.paths, seen.state->number)->freeze(); });
  sample_after_change(installation.paths, name);
}

void resume(const Installation& installation, const std::string& name) {
  const FileLock lock = lock_container(installation.paths, name);
  settle(installation, name);
  const Observation seen = require_running(installation, name);
  if (seen.condition != Condition::paused) throw Error(fmt::format("container '{}' is not paused", name));
  step("thaw", [&] { container_cgroup(installation.paths, seen.state->number)->thaw(); });
  sample_after_change(installation.paths, name);
}

namespace {

// A monitor of which only the socket is known takes that away with its last step, after it wrote its record.
void await_unknown_monitor(const std::string& run_directory) {
  const auto end = Clock::now() + kMonitorPatience;
  while (sys::exists(run_directory + "/monitor.sock") && Clock::now() < end)
    std::this_thread::sleep_for(milliseconds(2));
}

// Nothing where it was removed, else what it is instead of stopped.
std::optional<Condition> destroy_stopped(const Installation& installation, const std::string& name,
                                         bool force) {
  const FileLock lock = lock_name(installation.paths, name);
  return with_frame(fmt::format("cannot destroy container '{}'", name), [&]() -> std::optional<Condition> {
    settle(installation, name);
    const Condition condition = look(installation, name).condition;
    if (condition != Condition::stopped && !(force && condition == Condition::damaged)) return condition;
    // A monitor whose record cannot be read must not start the next init of what is removed here.
    bool has_monitor = false;
    if (condition == Condition::damaged)
      ignore_errors([&] {  // it may be gone
        has_monitor = announce_intent(installation.paths.runtime(name), Intent::stop);
      });
    uint32_t number = 0;
    ignore_errors(
        [&] { number = load_identity(installation.paths, name).number; });  // damaged: gc finds the rest
    if (number != 0)
      remove_kernel_objects(installation.paths, number, last_look_of(installation.paths, name));
    if (has_monitor) await_unknown_monitor(installation.paths.runtime(name));
    remove_container_files(installation.paths, name);
    return std::nullopt;
  });
}

}  // namespace

void destroy(const Installation& installation, const std::string& name, bool force) {
  if (!container_exists(installation.paths, name)) {
    // What an interrupted destroy left is finished, so that the same command may be said again.
    const std::string doomed = fmt::format("{}/.{}.destroyed", installation.paths.containers(), name);
    if (!is_dns_label(name) || !sys::exists(doomed)) require_container(installation.paths, name);
  }
  std::optional<Condition> still;
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (force && look(installation, name).condition != Condition::stopped)
      ignore_errors(
          [&] { stop(installation, name, {.kill_at_once = true}); });  // what resists is met again below
    still = destroy_stopped(installation, name, force);
    if (!still || !force) break;  // else another command has just started it
  }
  if (still)
    throw Error(fmt::format("cannot destroy container '{}': it is {}", name, condition_name(*still)))
        .hint("stop it first, or use --force");
}

void rename(const Installation& installation, const std::string& from, const std::string& to) {
  require_container(installation.paths, from);
  if (from == to) throw usage_error(fmt::format("container '{}' has that name already", from));
  const FileLock lock = lock_container(installation.paths, from);
  const FileLock new_lock = lock_name(installation.paths, to);
  if (container_exists(installation.paths, to))
    throw Error(fmt::format("there is a container '{}' already", to));
  settle(installation, from);
  if (look(installation, from).condition != Condition::stopped) {
    ignore_errors([&] { remove_unused_run_directory(installation.paths, to); });  // gc removes it as well
    throw Error(fmt::format("cannot rename container '{}': it is running", from)).hint("stop it first");
  }
  rename_container_files(installation.paths, from, to);
  rename_in_ledger(installation.paths, to);
}

std::optional<int> wait(const Installation& installation, const std::string& name,
                        std::optional<milliseconds> timeout) {
  require_container(installation.paths, name);
  const auto end = timeout ? std::optional(Clock::now() + *timeout) : std::nullopt;
  for (;;) {
    const Observation seen = look_settled(installation, name);
    if (seen.condition == Condition::stopped)
      return seen.state && seen.state->last_exit ? seen.state->last_exit->status : 0;
    if (seen.condition == Condition::damaged) throw Error(seen.problem);
    milliseconds left(500);
    if (end) left = std::min(left, std::chrono::duration_cast<milliseconds>(*end - Clock::now()));
    if (left.count() <= 0) return std::nullopt;
    if (seen.monitor) {
      sys::pidfd_wait_ended(seen.monitor.get(), left);
    } else {
      std::this_thread::sleep_for(std::min(left, milliseconds(50)));
    }
  }
}

}  // namespace holm::runtime
