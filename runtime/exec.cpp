#include "runtime/exec.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "base/error.h"
#include "base/step.h"
#include "base/sys.h"
#include "isolation/protected_program.h"
#include "isolation/resource_limits.h"
#include "runtime/host_side.h"
#include "runtime/observe.h"
#include "runtime/payload.h"
#include "runtime/process_end.h"
#include "runtime/relay.h"

namespace holm::runtime {
namespace {

// What the joining processes need; everything was opened on the host.
struct JoinPlan {
  const ExecOptions* options = nullptr;
  const ContainerSpec* spec = nullptr;
  int init = -1;  // a pidfd
  std::vector<UniqueFd> cgroup_tasks;
  std::vector<UniqueFd> streams;  // pipes; empty: a pty is made inside
};

pid_t clone_process(uint64_t flags, int cgroup_v2, int* pidfd) {
  clone_args arguments = {};
  arguments.flags = flags | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uint64_t>(pidfd);
  arguments.exit_signal = (flags & CLONE_PARENT) ? 0 : SIGCHLD;
  if (cgroup_v2 >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<uint64_t>(cgroup_v2);
  }
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) {
    Error error = Error::system("make a process in the container");
    if (error.error_number() == ENOMEM) error.hint("its memory.limit is reached");
    if (error.error_number() == EAGAIN) error.hint("its pids.limit is reached");
    throw error;
  }
  return static_cast<pid_t>(pid);
}

struct Pty {
  UniqueFd master;
  UniqueFd slave;
};

// Runs in: the container's namespaces and root, with the command's standard streams. /dev belongs to the
// container's root, so what is opened there is looked at before it is used.
Pty open_container_pty() {
  const UniqueFd root = sys::open("/", O_PATH | O_DIRECTORY);
  Pty pty;
  pty.master = sys::open_confined(root.get(), "dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK,
                                  sys::Confine::in_root_nolink);
  const struct stat status = sys::stat_fd(pty.master.get(), "/dev/pts/ptmx");
  struct statfs file_system = {};
  if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(5, 2) ||
      ::fstatfs(pty.master.get(), &file_system) != 0 || file_system.f_type != DEVPTS_SUPER_MAGIC)
    throw Error("'/dev/pts/ptmx' inside the container is not the pty multiplexer");
  int locked = 0;
  if (::ioctl(pty.master.get(), TIOCSPTLCK, &locked) != 0) throw Error::system("unlock the pty");
  pty.slave.reset(::ioctl(pty.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!pty.slave) throw Error::system("open the pty");
  ::fcntl(pty.master.get(), F_SETFL, ::fcntl(pty.master.get(), F_GETFL) & ~O_NONBLOCK);
  give_terminal_size(pty.master.get());  // before the payload asks for it
  return pty;
}

void connect_streams(const JoinPlan& plan, const Pty& pty, const isolation::ContainerUser& user) {
  if (::setsid() < 0) throw Error::system("start a session");
  for (int number = 0; number < 3; ++number) {
    const int source = pty.slave ? pty.slave.get() : plan.streams[static_cast<size_t>(number)].get();
    if (::dup2(source, number) < 0) throw Error::system(fmt::format("set up standard stream {}", number));
  }
  if (!pty.slave) return;
  sys::chown_fd(0, user.uid, 5, "pty");  // gid 5: tty, as its devpts is mounted
  if (::ioctl(0, TIOCSCTTY, 0) != 0) throw Error::system("take the pty as controlling terminal");
}

// Runs in: all namespaces of the container and its root; all capabilities over its user namespace; not
// dumpable.
void become_exec_payload(JoinPlan& plan, Channel& channel) {
  const ExecOptions& options = *plan.options;
  isolation::ContainerUser user;
  Pty pty;
  sys::reset_inherited();
  step("join a new session keyring", [&] { join_new_keyring(); });
  step("find user", [&] { user = find_user(options.user); });
  if (options.terminal) step("open a pty", [&] { pty = open_container_pty(); });
  step("open standard streams", [&] { connect_streams(plan, pty, user); });
  const auto environment = payload_environment(user, options.environment);
  const std::vector<std::string> shell = {user.shell, "-l"};
  std::vector<int> passed;
  if (pty.master) passed.push_back(pty.master.get());
  step("drop privileges", [&] { drop_privileges(*plan.spec, user); });
  step("say that it executes", [&] { channel.send(Message::executing, "", passed); });
  step("execute", [&] {
    execute_payload(options.arguments.empty() ? shell : options.arguments, environment, options.workdir,
                    channel.fd());
  });
}

template <class Body>
[[noreturn]] void run_child(Channel& channel, Body&& body) {
  try {
    body();
  } catch (Error& error) {
    error.at("inside the container");
    ignore_errors(
        [&] { channel.send(Message::failed, error.encode()); });  // the command is gone: nobody to tell
  } catch (const std::exception& failure) {
    ignore_errors([&] { channel.send(Message::failed, Error(failure.what()).encode()); });  // as above
  }
  ::_exit(kExitHolmFailed);
}

// Runs in: the host's namespaces, the container's v2 cgroup. Joins all namespaces and makes the process that
// will be the payload as the command's own child; a process itself cannot change its pid namespace.
void join_and_fork(JoinPlan& plan, Channel& channel) {
  hide_from_container();  // before the first namespace is joined
  step("join cgroups", [&] {
    for (const UniqueFd& file : plan.cgroup_tasks) sys::write_all(file.get(), "0", "tasks");
  });
  step("set resource limits", [&] { isolation::apply_resource_limits(plan.spec->resource_limits); });
  step("join namespaces", [&] {
    int namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP;
    if (plan.spec->security.user_namespace) namespaces |= CLONE_NEWUSER;
    if (plan.spec->networks.front().mode != netsetup::NicMode::host) namespaces |= CLONE_NEWNET;
    if (sys::exists("/proc/self/ns/time_for_children")) namespaces |= CLONE_NEWTIME;
    sys::set_namespaces(plan.init, namespaces, "of the container");
  });
  // Here, where no process of the container sees us, and not in the new process: ids do not change unseen.
  step("become the container's root", [&] { become_container_root(); });
  int pidfd = -1;
  step("make the process", [&] {
    if (clone_process(CLONE_PARENT, -1, &pidfd) == 0)
      run_child(channel, [&] { become_exec_payload(plan, channel); });
  });
  channel.send(Message::running, "", {pidfd});
}

Observation find_running(const Installation& installation, const std::string& name) {
  require_container(installation.paths, name);
  Observation seen = observe(installation.paths, quotas::detect_cgroup_layout(), name);
  if (seen.condition == Condition::paused)
    throw Error(fmt::format("container '{}' is paused", name))
        .hint(fmt::format("'holm resume {}' first", name));
  // Until init executes, its namespaces are not yet the container's: its files are still the host's.
  if (seen.condition == Condition::starting)
    throw Error(fmt::format("container '{}' is just being started", name))
        .hint("try again in a moment; 'holm list -a' shows when it runs");
  if (!seen.has_init()) throw not_running(name);
  return seen;
}

void reap(int pidfd) { collect_end(pidfd, Parent::us); }

int relay_to_end(const ExecOptions& options, int process, UniqueFd& master, StreamEnds& streams) {
  RelaySignals signals;
  if (options.terminal) {
    if (relay_pty(signals, master.get(), process) == RelayEnd::interrupted) {
      // The payload's session gets SIGHUP, as from any terminal that is closed. One that ignores it goes on
      // alone.
      master.reset();
      if (!sys::pidfd_wait_ended(process, std::chrono::milliseconds(500))) return 128 + SIGHUP;
    }
  } else {
    relay_pipes(signals, streams, process, [&](int signal) {
      sys::pidfd_signal(process, signal);
      return false;
    });
  }
  const InitEnd end = collect_end(process, Parent::us);
  return end.signal ? 128 + end.signal : end.code;
}

}  // namespace

int exec_in_container(const Installation& installation, const ExecOptions& options) {
  if (!isolation::is_program_protected())
    throw Error("the program must be protected before it enters a container");
  const Observation seen = find_running(installation, options.name);
  const StoredContainer container = load_running_container(installation, options.name);
  const auto cgroup = container_cgroup(installation.paths, container.identity.number);
  quotas::CgroupEntry entry = cgroup->open_entry();
  JoinPlan plan;
  plan.options = &options;
  plan.spec = &container.config.spec;
  plan.init = seen.init.get();
  plan.cgroup_tasks = std::move(entry.v1_tasks);
  StreamEnds streams;
  if (!options.terminal) {
    PayloadPipes pipes = make_payload_pipes();
    streams = std::move(pipes.ours);
    plan.streams = std::move(pipes.payload);
  }
  auto [ours, theirs] = make_channel();
  int joiner_fd = -1;
  const pid_t joiner_pid = step("make a joining process", [&] {
    return clone_process(0, entry.v2_directory ? entry.v2_directory.get() : -1, &joiner_fd);
  });
  if (joiner_pid == 0) {
    run_child(theirs, [&] {
      join_and_fork(plan, theirs);
      ::_exit(0);
    });
  }
  const UniqueFd joiner(joiner_fd);
  theirs = Channel(UniqueFd());
  plan.streams.clear();
  UniqueFd process, master;
  try {
    // Two processes speak: the joiner passes the new one's pidfd, the new one says that it executes; in any
    // order.
    for (int heard = 0; heard < 2; ++heard) {
      auto received = ours.receive();
      if (!received)
        throw Error("the joining process ended unexpectedly")
            .hint("was the container stopped meanwhile, or is its memory.limit reached?");
      if (received->message == Message::failed) throw Error::decode(received->text);
      if (received->message == Message::running && !received->fds.empty())
        process = std::move(received->fds[0]);
      if (received->message == Message::executing && !received->fds.empty())
        master = std::move(received->fds[0]);
    }
    if (const auto late = ours.receive()) throw Error::decode(late->text);
  } catch (Error& error) {
    reap(joiner.get());
    if (process) reap(process.get());
    error.frame(fmt::format("cannot execute in container '{}'", options.name));
    if (error.exit_status() == kExitFailed) error.exit_status(kExitHolmFailed);
    throw;
  }
  reap(joiner.get());
  return relay_to_end(options, process.get(), master, streams);
}

}  // namespace holm::runtime
