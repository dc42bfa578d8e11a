#include "runtime/monitor.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <malloc.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "isolation/protected_program.h"
#include "runtime/cleanup.h"
#include "runtime/console.h"
#include "runtime/control.h"
#include "runtime/exit_record.h"
#include "runtime/host_side.h"
#include "runtime/launch.h"
#include "runtime/monitor_process.h"
#include "runtime/oom_watch.h"
#include "runtime/process_end.h"
#include "runtime/root_mount.h"
#include "runtime/run_account.h"

namespace holm::runtime {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A container that ran this long before it crashed starts its back-off anew.
constexpr milliseconds kStableAfter(60000);

// The earlier of the two as a timeout of poll(2), which must not end before it.
int milliseconds_until(std::initializer_list<std::optional<Clock::time_point>> times) {
  std::optional<Clock::time_point> first;
  for (const auto& time : times)
    if (time && (!first || *time < *first)) first = time;
  if (!first) return -1;
  return static_cast<int>(
      std::max<milliseconds>(milliseconds(0), std::chrono::ceil<milliseconds>(*first - Clock::now()))
          .count());
}

class Monitor {
 public:
  Monitor(const MonitorOptions& options, Inherited inherited, InitSource first_init)
      : options_(options),
        inherited_(std::move(inherited)),
        first_init_(std::move(first_init)),
        installation_(open_installation()),
        run_directory_(installation_.paths.runtime(options.name)) {
    load();
  }

  int run();
  void report_failure(const Error& error);

 private:
  void load();
  void begin_state();
  void start_init();
  void adopt_init();
  StdioPlan prepare_stdio();
  // Serves the console and other commands until `pidfd` (or, with -1, the time) ends the wait.
  void serve_until(int pidfd, std::optional<Clock::time_point> end);
  void note_oom_kills(bool ready);
  InitEnd wait_for_end();
  void finish_run(const InitEnd& end);
  void pause_before_restart();
  void report(Message message, const std::string& text = "");
  void record(Phase phase);
  void remove_container();
  void detach_root();

  bool stays_stopped() const { return intent_ == Intent::stop || intent_ == Intent::checkpoint; }
  const ContainerSpec& spec() const { return container_.config.spec; }

  MonitorOptions options_;
  Inherited inherited_;
  InitSource first_init_;  // of the next start alone; those after it are launched
  Installation installation_;
  StoredContainer container_;
  std::string run_directory_;
  State state_;
  std::unique_ptr<ControlSocket> control_;
  std::unique_ptr<Console> console_;
  std::unique_ptr<quotas::Cgroup> cgroup_;
  std::unique_ptr<OomWatch> oom_watch_;  // of this run
  bool is_oom_recorded_ = true;
  Clock::time_point oom_recorded_at_;
  UniqueFd init_;
  std::vector<UniqueFd> detached_;
  std::unique_ptr<RunAccount> account_;
  Clock::time_point init_started_;
  Intent intent_ = Intent::none;
  unsigned crashes_ = 0;
};

int Monitor::run() {
  begin_state();
  options_.adopt ? adopt_init() : start_init();
  for (;;) {
    const InitEnd end = wait_for_end();
    finish_run(end);
    Next next = decide_next(spec(), end, intent_);
    while (next == Next::start_again || next == Next::start_after_pause) {
      if (next == Next::start_after_pause) pause_before_restart();
      if (stays_stopped()) break;
      intent_ = Intent::none;
      ++state_.restarts;
      // Only now: without a restart it goes with this process, and nobody waits for the sync of its file
      // system.
      release_root(run_directory_);
      try {
        const FileLock config = lock_config(installation_.paths, options_.name);
        load();
        start_init();
        break;
      } catch (Error& error) {
        log_line(error.report());
        state_.last_exit = ExitRecord{.status = kExitHolmFailed,
                                      .reason = "cannot restart: " + error.message(),
                                      .at = std::time(nullptr)};
        next = spec().on_crash == OnCrash::restart ? Next::start_after_pause : Next::stop;
      }
    }
    if (stays_stopped() || next == Next::stop || next == Next::destroy) {
      if (next == Next::destroy || options_.remove_when_stopped) {
        remove_container();
      } else {
        record(Phase::stopped);
      }
      report(Message::ended, std::to_string(state_.last_exit ? state_.last_exit->status : kExitHolmFailed));
      return 0;
    }
  }
}

void Monitor::load() {
  container_ = load_container(installation_, options_.name);
  if (options_.command.empty()) return;
  container_.config.spec.payload.kind = PayloadKind::command;
  container_.config.spec.payload.arguments = options_.command;
}

void Monitor::begin_state() {
  state_.name = options_.name;
  const auto previous = read_state(installation_.paths, options_.name);
  if (previous) state_ = *previous;
  state_.name = options_.name;
  state_.number = container_.identity.number;
  state_.boot_id = current_boot_id();
  state_.monitor = identify_process(::getpid());
  state_.remove_when_stopped = options_.remove_when_stopped;
  cgroup_ = container_cgroup(installation_.paths, state_.number);
  account_ =
      std::make_unique<RunAccount>(installation_.paths, options_.name, container_.durability, log_line);
  control_ = std::make_unique<ControlSocket>(run_directory_);
  if (options_.adopt) return;
  state_.restarts = 0;
  state_.init = {};
  state_.last_exit.reset();
}

StdioPlan Monitor::prepare_stdio() {
  StdioPlan plan;
  if (options_.stdio == StdioMode::pipes) {
    for (int i = 0; i < 3; ++i) plan.streams[i] = std::move(inherited_.streams[i]);
    return plan;
  }
  const uid_t owner = spec().security.user_namespace ? container_.identity.ids.first : 0;
  if (!console_) console_ = std::make_unique<Console>(run_directory_, owner);
  if (inherited_.console_client) console_->add_foreground_client(std::move(inherited_.console_client));
  plan.console = sys::duplicate(console_->slave());
  return plan;
}

void Monitor::start_init() {
  replace_file(live_config_path(installation_.paths, options_.name), container_.config.text);
  with_undo([&](UndoStack& undo) {
    LaunchRequest request;
    request.installation = &installation_;
    request.container = &container_;
    request.stdio = prepare_stdio();
    if (inherited_.report) request.caller = inherited_.report->fd();
    state_.interfaces.clear();
    for (const auto& nic : spec().networks) state_.interfaces.push_back(nic.name);
    request.on_created = [&](const ProcessId& process) {
      state_.init = process;
      state_.is_complete = false;
      record(Phase::starting);
    };
    request.on_whole = [&] {
      state_.is_complete = true;
      record(Phase::starting);
    };
    request.before_it_runs = [&](const RunningInit& running) {
      state_.addresses = running.addresses;
      state_.warnings = running.warnings;
      state_.started_at = running.started_at;
      state_.oom_victim.reset();
      step("record that it runs", [&] { record(Phase::running); });
    };
    const InitSource source = first_init_ ? std::exchange(first_init_, nullptr) : launch;
    RunningInit running = source(request, undo);
    if (state_.phase != Phase::running) request.before_it_runs(running);
    init_ = std::move(running.pidfd);
    init_started_ = Clock::now();
    oom_watch_ = std::make_unique<OomWatch>(*cgroup_);
    undo.dismiss();
  });
  inherited_.lock.reset();
  report(Message::running);
  if (!options_.foreground) inherited_.report.reset();
  account_->begin(state_.init.pid);
  ::malloc_trim(0);  // parsing and building left pages that a monitor never needs again
}

void Monitor::adopt_init() {
  auto init = open_process(state_.init);
  init_ = init ? std::move(*init) : UniqueFd();
  init_started_ = Clock::now();
  oom_watch_ = std::make_unique<OomWatch>(*cgroup_);
  if (init_) account_->begin(state_.init.pid);
  record(Phase::running);
  log_line("adopted the container; its console is lost");
}

void Monitor::serve_until(int pidfd, std::optional<Clock::time_point> end) {
  std::vector<pollfd> wanted;
  for (;;) {
    wanted.clear();
    wanted.push_back({pidfd, POLLIN, 0});
    wanted.push_back({control_->fd(), POLLIN, 0});
    wanted.push_back(oom_watch_ ? oom_watch_->wanted() : pollfd{-1, 0, 0});
    wanted.push_back({account_->fd(), POLLIN, 0});
    if (console_) console_->add_to(wanted);
    if (end && *end <= Clock::now()) return;
    const auto look_again = oom_watch_ ? oom_watch_->look_at() : std::nullopt;
    if (::poll(wanted.data(), wanted.size(), milliseconds_until({end, account_->due(), look_again})) < 0) {
      if (errno == EINTR) continue;
      throw Error::system("wait for the container");
    }
    account_->serve();
    if (wanted[1].revents) control_->serve([&](Intent intent) { intent_ = intent; });
    if (console_) console_->handle(wanted);
    note_oom_kills(wanted[2].revents != 0);
    if (wanted[0].revents) return;
    if (pidfd < 0 && stays_stopped()) return;
  }
}

void Monitor::note_oom_kills(bool ready) {
  if (!oom_watch_) return;
  for (const quotas::OomKill& kill : oom_watch_->take(ready)) {
    const std::string name = printable(kill.process);
    log_line(fmt::format("out of memory{}: the kernel killed '{}' (pid {})",
                         kill.by_limit ? "" : " on the host", name, kill.pid));
    state_.oom_victim = OomVictim{name, kill.pid, std::time(nullptr)};
    is_oom_recorded_ = false;
  }
  // A container that goes beyond its limit all the time does not make its monitor write all the time.
  if (is_oom_recorded_ || Clock::now() - oom_recorded_at_ < milliseconds(500)) return;
  ignore_errors([&] { record(state_.phase); });  // a full /run; the log has it
  is_oom_recorded_ = true;
  oom_recorded_at_ = Clock::now();
}

InitEnd Monitor::wait_for_end() {
  if (init_) {
    serve_until(init_.get(), std::nullopt);
    account_->note_end();
  }
  const Parent parent = std::exchange(options_.adopt, false) ? Parent::another : Parent::us;
  return collect_end(init_.get(), parent);  // of an adopted container, too, the next init is our own
}

void Monitor::finish_run(const InitEnd& end) {
  if (console_) console_->drain();
  OomFacts oom;
  note_oom_kills(true);
  if (state_.oom_victim) oom.victim = state_.oom_victim->process;
  ignore_errors([&] {  // the group may be gone; then nothing is known
    oom.kills = cgroup_->usage().oom_kills;
    oom.limit = cgroup_->read_limits().memory.limit;
  });
  state_.last_exit = describe_end(end, oom, intent_);
  log_line(state_.last_exit->reason);
  if (Clock::now() - init_started_ >= kStableAfter) crashes_ = 0;
  remove_kernel_objects(
      installation_.paths, state_.number, [&] { account_->finish(); }, Links::leave_to_kernel);
  init_.reset();
  state_.init = {};
  oom_watch_.reset();
}

void Monitor::pause_before_restart() {
  const milliseconds pause = restart_pause(++crashes_);
  const std::string plan =
      fmt::format("restart {} after {:.1f} s", crashes_, static_cast<double>(pause.count()) / 1000);
  log_line(plan);
  if (state_.last_exit) state_.last_exit->reason += "; " + plan;
  try {
    record(Phase::restarting);
  } catch (const Error& error) {
    if (error.error_number() != ENOSPC) throw;  // such as: the container was destroyed
    log_line(error.report());                   // a full /run may have room again by then
  }
  serve_until(-1, Clock::now() + pause);
}

void Monitor::report(Message message, const std::string& text) {
  if (!inherited_.report) return;
  ignore_errors(
      [&] { inherited_.report->send(message, text); });  // the command may be gone; the container goes on
}

void Monitor::report_failure(const Error& error) {
  log_line(error.report());
  // A container that still runs is not lost with its monitor: the next command adopts it.
  const bool still_runs = init_ && !sys::pidfd_wait_ended(init_.get(), milliseconds(0));
  if (still_runs) return report(Message::failed, error.encode());
  ignore_errors([&] {  // a state that cannot be written is corrected by the next command
    state_.init = {};
    if (!state_.last_exit)
      state_.last_exit = ExitRecord{.status = error.exit_status(),
                                    .reason = "did not start: " + error.message(),
                                    .at = std::time(nullptr)};
    record(Phase::stopped);
  });
  report(Message::failed, error.encode());
}

void Monitor::record(Phase phase) {
  state_.phase = phase;
  write_state(installation_.paths, state_);
}

// Out of the tree, so that removing the run directory cannot reach into the root file system (one of
// `root = DIR` is the user's own); held open, so that the sync of its file system is left to the end of this
// process.
void Monitor::detach_root() {
  for (const char* name : {"/root", "/lower"})
    if (auto mount = sys::open_if_exists(run_directory_ + name, O_PATH | O_DIRECTORY))
      detached_.push_back(std::move(*mount));
  release_root(run_directory_);
}

void Monitor::remove_container() {
  try {
    auto lock = FileLock::try_acquire(run_directory_ + "/lock");
    if (!lock) {
      record(Phase::stopped);  // a stop may hold the lock and wait for this
      lock = lock_container(installation_.paths, options_.name);
    }
    // Another command may have had the lock first, and have destroyed the container or started it anew.
    const auto recorded = read_state(installation_.paths, options_.name);
    if (!recorded || recorded->monitor != state_.monitor) return;
    control_.reset();
    console_.reset();
    detach_root();
    remove_container_files(installation_.paths, options_.name);
  } catch (const Error& error) {
    log_line(error.report());  // gc finishes it
  }
}

}  // namespace

std::vector<std::string> monitor_arguments(const MonitorOptions& options) {
  std::vector<std::string> arguments = {"holm", kMonitorVerb, options.name};
  if (options.stdio == StdioMode::pipes) arguments.emplace_back("--pipes");
  if (options.foreground) arguments.emplace_back("--foreground");
  if (options.adopt) arguments.emplace_back("--adopt");
  if (options.remove_when_stopped) arguments.emplace_back("--remove");
  if (!options.checkpoint.empty()) arguments.insert(arguments.end(), {"--checkpoint", options.checkpoint});
  if (!options.upper.empty()) arguments.insert(arguments.end(), {"--upper", options.upper});
  if (options.new_identity) arguments.emplace_back("--new-identity");
  if (options.paused) arguments.emplace_back("--paused");
  if (!options.command.empty()) arguments.emplace_back("--");
  arguments.insert(arguments.end(), options.command.begin(), options.command.end());
  return arguments;
}

MonitorOptions parse_monitor_arguments(const std::vector<std::string>& arguments) {
  MonitorOptions options;
  options.name = arguments.at(2);
  for (size_t i = 3; i < arguments.size(); ++i) {
    if (arguments[i] == "--pipes") options.stdio = StdioMode::pipes;
    if (arguments[i] == "--foreground") options.foreground = true;
    if (arguments[i] == "--adopt") options.adopt = true;
    if (arguments[i] == "--remove") options.remove_when_stopped = true;
    if (arguments[i] == "--checkpoint") options.checkpoint = arguments.at(++i);
    if (arguments[i] == "--upper") options.upper = arguments.at(++i);
    if (arguments[i] == "--new-identity") options.new_identity = true;
    if (arguments[i] == "--paused") options.paused = true;
    if (arguments[i] != "--") continue;
    options.command.assign(arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1, arguments.end());
    break;
  }
  return options;
}

int run_monitor(const MonitorOptions& options, InitSource first_init) noexcept {
  std::unique_ptr<Monitor> monitor;
  std::optional<Channel> early_report;
  try {
    if (!options.adopt) early_report.emplace(sys::duplicate(kReportFd));
    detach_from_session(paths_from_environment().runtime(options.name));
    if (!isolation::is_program_protected())
      throw Error("a monitor must be started from the protected program");
    Inherited inherited = take_inherited(options);
    std::optional<FileLock>
        adoption;  // for life: a command that is killed while it adopts is followed by another one
    if (options.adopt) {
      adoption = FileLock::try_acquire(paths_from_environment().adoption_lock(options.name));
      if (!adoption) return kExitFailed;
    }
    step("enter private mounts", [] { enter_private_mounts(); });
    monitor = std::make_unique<Monitor>(options, std::move(inherited), std::move(first_init));
    early_report.reset();
    return monitor->run();
  } catch (Error& error) {
    if (monitor) monitor->report_failure(error);
    if (early_report)
      ignore_errors([&] { early_report->send(Message::failed, error.encode()); });  // nobody listens
  } catch (const std::exception& failure) {
    if (monitor) monitor->report_failure(Error(failure.what()));
  }
  return kExitFailed;
}

}  // namespace holm::runtime
