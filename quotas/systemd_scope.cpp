#include "quotas/systemd_scope.h"

#include <fmt/core.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/file_lock.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/group.h"
#include "quotas/group_tree.h"

namespace holm::quotas {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// The v1 controllers that systemd puts its units into (its src/basic/cgroup-util.h).
constexpr std::array<std::string_view, 7> kV1OfSystemd = {"name=systemd", "cpu",     "cpuacct", "blkio",
                                                          "memory",       "devices", "pids"};
// For all that others may have to do meanwhile: end an old scope, start a new one.
constexpr auto kPatience = 10s;

// The scope's groups.
struct Scope {
  std::string unit;
  std::string directory;  // in the hierarchy by which systemd knows whether processes are in it
  bool is_v2 = false;
  std::vector<std::string> others;  // v1: where the monitors are as well, so that limits of the session that
                                    // starts them do not hold for them
  std::string monitors() const { return directory + '/' + kMonitorsGroup; }
};

Scope find_scope(const CgroupLayout& layout, const std::string& parent_name) {
  Scope scope;
  scope.unit = scope_unit(parent_name);
  for (const CgroupLayout::Hierarchy& hierarchy : layout.hierarchies) {
    const std::string directory = parent_directory(layout, hierarchy, parent_name);
    const bool is_named = hierarchy.controllers == std::vector<std::string>{"name=systemd"};
    const bool leads = hierarchy.is_v2 || (is_named && !scope.is_v2);
    if (!leads) {
      if (is_used_by_systemd(hierarchy)) scope.others.push_back(directory);
      continue;
    }
    if (!scope.directory.empty()) scope.others.push_back(scope.directory);
    scope.directory = directory;
    scope.is_v2 = hierarchy.is_v2;
  }
  if (scope.directory.empty())
    throw Error("find systemd's cgroup hierarchy: neither cgroup v2 nor 'name=systemd' is mounted");
  return scope;
}

// --- the new process and its parent: "ready", "gone" or an error one way, "go" the other

std::string receive(int socket) {
  char buffer[8192];
  ssize_t size = 0;
  do {
    size = ::recv(socket, buffer, sizeof buffer, 0);
  } while (size < 0 && errno == EINTR);
  return size > 0 ? std::string(buffer, static_cast<size_t>(size)) : std::string();
}

void send(int socket, const std::string& text) { ::send(socket, text.data(), text.size(), MSG_NOSIGNAL); }

// A process that was made in the scope and waits to be told that it may go on; ends if it is not told.
struct Newborn {
  pid_t pid = 0;
  UniqueFd socket;
};

enum class Entrance {
  birth,  // at once, by clone3; impossible where it is killed at birth, which Linux does from 6.14 on where
          // the caller's own group was once killed through cgroup.kill
  write,  // by itself: waits for an RCU grace period, 17 ms where measured
};

// What a call says of a group that was removed; ENODEV: after it had been opened.
bool is_gone(int error_number) { return error_number == ENOENT || error_number == ENODEV; }

// Nothing where there is no such group (any more).
std::optional<pid_t> clone_into(const std::string& group, Entrance entrance) {
  clone_args arguments = {};
  arguments.exit_signal = SIGCHLD;
  std::optional<UniqueFd> directory;
  if (entrance == Entrance::birth) {
    directory = sys::open_if_exists(group, O_PATH | O_DIRECTORY);
    if (!directory) return std::nullopt;
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<uint64_t>(directory->get());
  }
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0 && is_gone(errno)) return std::nullopt;
  if (pid < 0) throw Error::system(fmt::format("make a process in cgroup '{}'", group));
  return static_cast<pid_t>(pid);
}

// Runs in: the new process. Writing "0" to v1's `tasks` waits for nothing.
void enter_groups(const Scope& scope, Entrance entrance) {
  if (!scope.is_v2) write_control_file(scope.monitors() + "/tasks", "0");
  if (scope.is_v2 && entrance == Entrance::write) write_control_file(scope.monitors() + "/cgroup.procs", "0");
  for (const std::string& other : scope.others) {
    const std::string group = other + '/' + kMonitorsGroup;
    if (::mkdir(group.c_str(), 0755) != 0 && errno != EEXIST) continue;
    ignore_errors([&] { write_control_file(group + "/tasks", "0"); });  // systemd does not use it after all
  }
}

// Runs in: the new process, which returns only where it may go on.
void enter_and_wait(const Scope& scope, Entrance entrance, const UniqueFd& socket) {
  try {
    enter_groups(scope, entrance);
    send(socket.get(), "ready");
  } catch (const Error& error) {
    send(socket.get(), is_gone(error.error_number()) ? "gone" : error.encode());
  }
  if (receive(socket.get()) != "go") ::_exit(1);
}

// The new process is given back with pid 0 in itself.
std::optional<Newborn> make_newborn(const Scope& scope, Entrance entrance) {
  auto [ours, theirs] = sys::socket_pair(SOCK_SEQPACKET);
  const auto pid = clone_into(scope.monitors(), entrance);
  if (!pid) return std::nullopt;
  if (*pid == 0) {
    ours.reset();
    enter_and_wait(scope, entrance, theirs);
    return Newborn{};
  }
  return Newborn{*pid, std::move(ours)};
}

void let_end(Newborn& newborn) {
  newborn.socket.reset();
  ::waitpid(newborn.pid, nullptr, 0);
}

enum class Birth { ready, killed, gone };

Birth await_birth(Newborn& newborn, const Scope& scope) {
  pollfd wanted = {newborn.socket.get(), POLLIN, 0};
  if (::poll(&wanted, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count())) == 0) {
    ::kill(newborn.pid, SIGKILL);
    let_end(newborn);
    throw Error(fmt::format("make a process in systemd's unit '{}': it does not run", scope.unit))
        .hint(fmt::format("is the unit frozen? 'systemctl thaw {}' ends that", scope.unit));
  }
  const std::string answer = receive(newborn.socket.get());
  if (answer == "ready") return Birth::ready;
  let_end(newborn);
  if (answer.empty()) return Birth::killed;
  if (answer == "gone") return Birth::gone;
  throw Error::decode(answer);
}

std::optional<Newborn> make_ready_newborn(const Scope& scope) {
  for (const Entrance entrance : {Entrance::birth, Entrance::write}) {
    if (!scope.is_v2 && entrance == Entrance::birth) continue;
    auto newborn = make_newborn(scope, entrance);
    if (!newborn || newborn->pid == 0) return newborn;
    const Birth birth = await_birth(*newborn, scope);
    if (birth == Birth::ready) return newborn;
    if (birth == Birth::gone) return std::nullopt;
  }
  throw Error(fmt::format("make a process in systemd's unit '{}': it is killed at once", scope.unit));
}

// --- the scope

// systemd ends the scope when it has seen it empty, even if another process has come into it meanwhile. A
// process may therefore stay only where one was there before it that is there still: a monitor, or where all
// were killed, whatever is in the scope.
std::optional<Newborn> fork_if_standing(const Scope& scope) {
  std::string watched = scope.monitors();
  std::vector<pid_t> before = tree_processes(watched);
  if (before.empty()) before = tree_processes(watched = scope.directory);
  if (before.empty()) return std::nullopt;
  if (::mkdir(scope.monitors().c_str(), 0755) != 0 && errno != EEXIST) {
    if (is_gone(errno)) return std::nullopt;
    throw Error::system(fmt::format("make cgroup '{}'", scope.monitors()));
  }
  auto newborn = make_ready_newborn(scope);
  if (!newborn || newborn->pid == 0) return newborn;
  const std::vector<pid_t> after = tree_processes(watched);
  const auto stayed = [&](pid_t pid) { return std::binary_search(after.begin(), after.end(), pid); };
  if (std::any_of(before.begin(), before.end(), stayed)) return newborn;
  let_end(*newborn);
  return std::nullopt;
}

// A process that does nothing: a scope is only made with one, and stands as long as one is in it.
class Holder {
 public:
  Holder() {
    auto [ours, theirs] = sys::socket_pair(SOCK_SEQPACKET);
    pid_ = ::fork();
    if (pid_ < 0) throw Error::system("make a process for systemd's scope");
    if (pid_ == 0) {
      // Nothing of the command may stay open here: others wait for the end of its streams.
      ::dup2(theirs.get(), 0);
      sys::close_range(1);
      receive(0);  // also ends where the command does
      ::_exit(0);
    }
    socket_ = std::move(ours);
  }
  ~Holder() {
    // Not by an end of file: a newborn still has this socket, too, until it is told to go on.
    send(socket_.get(), "end");
    ::waitpid(pid_, nullptr, 0);
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  UniqueFd socket_;
};

// What is left of an ended scope is systemd's to remove, and is gone in a moment. Should it stay, then
// because systemd has forgotten it; and as long as controllers are enabled in it, no new scope can be made
// there.
void await_removal(const Scope& scope) {
  const auto end = Clock::now() + 1s;
  for (auto pause = 500us; sys::exists(scope.directory) && tree_processes(scope.directory).empty();
       pause *= 2) {
    if (Clock::now() >= end) {
      ignore_errors([&] { remove_tree_of_groups(scope.directory, 0ms); });  // the start says why it failed
      return;
    }
    std::this_thread::sleep_for(std::min(pause, std::chrono::microseconds(20ms)));
  }
}

// Nothing where systemd still has a unit of that name.
std::unique_ptr<Holder> make_scope(const Scope& scope, const StartScope& start_scope) {
  await_removal(scope);
  auto holder = std::make_unique<Holder>();
  const ScopeStart answer =
      step("start systemd's scope", [&] { return start_scope(scope.unit, holder->pid()); });
  if (answer == ScopeStart::unit_exists) return nullptr;
  const std::string groups = read_file(fmt::format("/proc/{}/cgroup", holder->pid()));
  if (!is_in_unit(groups, scope.unit))
    throw Error(fmt::format("start systemd's unit '{}': the process that it was made for is in '{}'",
                            scope.unit, trim(groups)));
  return holder;
}

Newborn fork_in(const Scope& scope, const StartScope& start_scope) {
  const auto end = Clock::now() + kPatience;
  std::unique_ptr<Holder> holder;
  for (;;) {
    if (auto newborn = fork_if_standing(scope)) return std::move(*newborn);
    if (Clock::now() >= end)
      throw Error(fmt::format("enter systemd's unit '{}': for 10 s it has neither ended nor taken a process",
                              scope.unit))
          .hint(fmt::format("'systemctl status {}' tells more", scope.unit));
    holder = make_scope(scope, start_scope);
    if (!holder) std::this_thread::sleep_for(5ms);
  }
}

}  // namespace

std::string scope_unit(const std::string& parent_name) { return parent_name + ".scope"; }

bool is_used_by_systemd(const CgroupLayout::Hierarchy& hierarchy) {
  return hierarchy.is_v2 ||
         std::any_of(hierarchy.controllers.begin(), hierarchy.controllers.end(), [](const std::string& name) {
           return std::find(kV1OfSystemd.begin(), kV1OfSystemd.end(), name) != kV1OfSystemd.end();
         });
}

bool is_in_unit(std::string_view proc_cgroup, std::string_view unit) {
  const std::string wanted = fmt::format("/{}/{}", kScopeSlice, unit);
  for (const std::string& line : split(proc_cgroup, '\n')) {
    const size_t at = line.find(wanted);
    if (at == std::string::npos) continue;
    const std::string_view rest = std::string_view(line).substr(at + wanted.size());
    if (rest.empty() || rest.front() == '/') return true;
  }
  return false;
}

pid_t fork_into_scope(const CgroupLayout& layout, const std::string& parent_name,
                      const std::string& lock_path, const StartScope& start_scope) {
  if (layout.manager == CgroupLayout::Manager::nobody) {
    const pid_t pid = ::fork();
    if (pid < 0) throw Error::system("make a process");
    return pid;
  }
  const Scope scope = find_scope(layout, parent_name);
  // Who comes in must be able to trust the processes that are there (fork_if_standing).
  const FileLock lock = FileLock::acquire(lock_path, 3 * kPatience,
                                          fmt::format("'{}' is locked by another command", lock_path));
  Newborn newborn = fork_in(scope, start_scope);
  if (newborn.pid != 0) send(newborn.socket.get(), "go");
  return newborn.pid;
}

}  // namespace holm::quotas
