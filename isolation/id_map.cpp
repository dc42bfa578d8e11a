#include "isolation/id_map.h"

#include <fmt/core.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm::isolation {
namespace {

constexpr uint32_t kFirstContainerId = 65536;
constexpr uint64_t kNoId = 0xffffffff;

void write_and_read_back(const std::string& path, const IdRange& range) {
  write_control_file(path, id_map_text(range));
  const std::string held = read_file(path);
  const std::vector<std::string> wanted = {"0", std::to_string(range.first), std::to_string(range.count)};
  if (split_words(held) != wanted)
    throw Error(fmt::format("write '{}' to '{}': the kernel keeps '{}'", join(wanted, " "), path,
                            join(split_words(held), " ")));
}

// A child in a new user namespace that does nothing until it is killed. It ends by itself where its parent
// dies: then the other end of the pipe is closed.
class IdleChild {
 public:
  IdleChild() {
    sys::Pipe pipe = sys::pipe();
    clone_args arguments{};
    int pidfd = -1;
    arguments.flags = CLONE_NEWUSER | CLONE_PIDFD;
    arguments.pidfd = reinterpret_cast<uintptr_t>(&pidfd);
    arguments.exit_signal = SIGCHLD;
    const long result = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    if (result == 0) idle(pipe);
    if (result < 0) throw cannot_start(errno);
    pid_ = static_cast<pid_t>(result);
    pidfd_.reset(pidfd);
    alive_ = std::move(pipe.write_end);
  }
  IdleChild(const IdleChild&) = delete;
  IdleChild& operator=(const IdleChild&) = delete;
  ~IdleChild() { kill_and_reap(pidfd_.get()); }

  pid_t pid() const { return pid_; }

 private:
  // Runs in: a new user namespace, a copy of the caller's memory and descriptors; only system calls are safe
  // here.
  [[noreturn]] static void idle(const sys::Pipe& pipe) {
    ::close(pipe.write_end.get());
    char byte = 0;
    while (::read(pipe.read_end.get(), &byte, 1) < 0 && errno == EINTR) {
    }
    ::_exit(0);
  }

  static Error cannot_start(int error_number) {
    Error error = Error::system(error_number, "make a user namespace");
    if (error_number == EPERM || error_number == EINVAL)
      error.hint(
          "the kernel has no user namespaces, or kernel.unprivileged_userns_clone or an outer container "
          "forbids them");
    if (error_number == ENOSPC) error.hint("sysctl user.max_user_namespaces is reached");
    return error;
  }

  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd alive_;
};

}  // namespace

void check_id_range(const IdRange& range) {
  const uint64_t end = uint64_t{range.first} + range.count;
  if (range.count == 0 || range.first < kFirstContainerId || end > kNoId)
    throw Error(fmt::format("id range {}+{} is not within {}..{}", range.first, range.count,
                            kFirstContainerId, kNoId - 1));
}

uint32_t host_id(const IdRange& range, uint32_t container_id) {
  check_id_range(range);
  if (container_id >= range.count)
    throw Error(
        fmt::format("id {} does not exist in the container: it has 0..{}", container_id, range.count - 1));
  return range.first + container_id;
}

std::string id_map_text(const IdRange& range) {
  check_id_range(range);
  return fmt::format("0 {} {}", range.first, range.count);
}

void write_id_map(pid_t child, const IdRange& range) {
  write_and_read_back(fmt::format("/proc/{}/uid_map", child), range);
  write_and_read_back(fmt::format("/proc/{}/gid_map", child), range);
}

UniqueFd make_user_namespace_fd(const IdRange& range) {
  check_id_range(range);  // before anything is made
  const IdleChild child;
  write_id_map(child.pid(), range);
  return sys::open(fmt::format("/proc/{}/ns/user", child.pid()), O_RDONLY);
}

}  // namespace holm::isolation
