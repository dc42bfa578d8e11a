#include "base/sys.h"

#include <dirent.h>
#include <fmt/core.h>
#include <linux/close_range.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <memory>

#include "base/error.h"

namespace holm::sys {
namespace {

[[noreturn]] void fail(std::string_view verb, std::string_view object) {
  const int error_number = errno;
  throw Error::system(error_number, fmt::format("{} '{}'", verb, object));
}

// Deeper than this, directories are moved to the top of the tree first: a tree may be deeper than there are
// descriptors.
constexpr int kMaxDescent = 32;

struct Removal {
  int top;  // the tree's own directory
  unsigned moved = 0;
};

// A directory to remove, only where nothing is mounted on it: a bind mount shows files that are somebody
// else's, under the same device number.
UniqueFd open_same_mount(int directory, const std::string& child, const std::string& name) {
  struct open_how how = {};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  how.resolve = RESOLVE_NO_XDEV;
  UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, directory, child.c_str(), &how, sizeof how)));
  if (fd) return fd;
  if (errno == EXDEV) throw Error(fmt::format("remove '{}/{}': something is mounted there", name, child));
  fail("open", name + "/" + child);
}

// Removes what is inside the directory `fd`; what lies too deep is left at the top, for the next round.
void empty_directory(Removal& removal, int fd, int depth, const std::string& name) {
  DIR* raw = ::fdopendir(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!raw) fail("read directory", name);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(raw, ::closedir);
  ::rewinddir(raw);
  while (const dirent* entry = ::readdir(raw)) {
    const std::string child = entry->d_name;
    if (child == "." || child == "..") continue;
    if (::unlinkat(fd, child.c_str(), 0) == 0 || errno == ENOENT) continue;
    if (errno != EISDIR && errno != EPERM) fail("remove", name + "/" + child);
    const UniqueFd inner = open_same_mount(fd, child, name);
    if (depth >= kMaxDescent) {
      const std::string moved = fmt::format(".deep-{}-{}", ::getpid(), removal.moved++);
      if (::renameat(fd, child.c_str(), removal.top, moved.c_str()) != 0) fail("move", name + "/" + child);
      continue;
    }
    empty_directory(removal, inner.get(), depth + 1, name + "/" + child);
    if (::unlinkat(fd, child.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
      fail("remove", name + "/" + child);
  }
}

}  // namespace

UniqueFd open(const std::string& path, int flags, mode_t mode) {
  return open_at(AT_FDCWD, path, flags, mode);
}

UniqueFd open_at(int directory, const std::string& name, int flags, mode_t mode) {
  UniqueFd fd(::openat(directory, name.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) fail("open", name);
  return fd;
}

std::optional<UniqueFd> open_if_exists(const std::string& path, int flags) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC));
  if (fd) return fd;
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  fail("open", path);
}

UniqueFd open_confined(int directory, const std::string& path, int flags, Confine confine, mode_t mode) {
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.mode = mode;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  if (confine == Confine::beneath) how.resolve |= RESOLVE_BENEATH;
  if (confine != Confine::beneath) how.resolve |= RESOLVE_IN_ROOT;
  if (confine == Confine::in_root_nolink) how.resolve |= RESOLVE_NO_SYMLINKS;
  for (int attempt = 0;; ++attempt) {
    const long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    // EAGAIN: a rename beside the lookup; openat2(2) says to try again.
    if (errno != EAGAIN || attempt >= 128) fail("open inside the container", path);
  }
}

struct stat stat_fd(int fd, std::string_view name) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0) fail("stat", name);
  return status;
}

std::optional<struct stat> stat_path(const std::string& path) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) == 0) return status;
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  fail("stat", path);
}

bool exists(const std::string& path) { return stat_path(path).has_value(); }

void make_directory(const std::string& path, mode_t mode) { make_directory_at(AT_FDCWD, path, mode); }

void make_directories(const std::string& path, mode_t mode) {
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) fail("make directory", part);
    if (at == std::string::npos) break;
  }
  const auto status = stat_path(path);
  if (status && !S_ISDIR(status->st_mode) && !S_ISLNK(status->st_mode))
    throw Error::system(ENOTDIR, fmt::format("make directory '{}'", path));
}

void make_directory_at(int directory, const std::string& name, mode_t mode) {
  if (::mkdirat(directory, name.c_str(), mode) != 0) fail("make directory", name);
}

void rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail(fmt::format("rename '{}' to", from), to);
}

void link_fd(int fd, const std::string& to) {
  const std::string from = fmt::format("/proc/self/fd/{}", fd);
  if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW) != 0) fail("name a file", to);
}

void rename_new(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0)
    fail(fmt::format("rename '{}' to", from), to);
}

bool remove_file(const std::string& path) {
  if (::unlink(path.c_str()) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  fail("remove", path);
}

bool remove_directory(const std::string& path) {
  if (::rmdir(path.c_str()) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  fail("remove directory", path);
}

bool remove_tree(const std::string& path) {
  const auto status = stat_path(path);
  if (!status) return false;
  if (!S_ISDIR(status->st_mode)) return remove_file(path);
  {
    const UniqueFd fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    Removal removal = {fd.get()};
    unsigned moved_before = 0;
    do {
      moved_before = removal.moved;
      empty_directory(removal, fd.get(), 0, path);
    } while (removal.moved != moved_before);
  }
  remove_directory(path);
  return true;
}

void chown_fd(int fd, uid_t uid, gid_t gid, std::string_view name) {
  if (::fchown(fd, uid, gid) != 0) fail(fmt::format("set owner {}:{} of", uid, gid), name);
}

void chown_path(const std::string& path, uid_t uid, gid_t gid) {
  if (::lchown(path.c_str(), uid, gid) != 0) fail(fmt::format("set owner {}:{} of", uid, gid), path);
}

void chmod_fd(int fd, mode_t mode, std::string_view name) {
  if (::fchmod(fd, mode) != 0) fail("set mode of", name);
}

void sync_fd(int fd, std::string_view name) {
  if (::fsync(fd) != 0) fail("sync", name);
}

std::string read_link(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t size = ::readlink(path.c_str(), target, sizeof target);
  if (size < 0) fail("read link", path);
  return std::string(target, static_cast<size_t>(size));
}

UniqueFd duplicate(int fd) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy) fail("duplicate descriptor", std::to_string(fd));
  return copy;
}

void write_all(int fd, std::string_view data, std::string_view name) {
  while (!data.empty()) {
    const ssize_t written = ::write(fd, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write", name);
    data.remove_prefix(static_cast<size_t>(written));
  }
}

void set_nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    fail("set non-blocking", std::to_string(fd));
}

void set_close_on_exec(int fd, bool on) {
  if (::fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) != 0) fail("set close-on-exec", std::to_string(fd));
}

Pipe pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("make", "pipe");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::pair<UniqueFd, UniqueFd> socket_pair(int type) {
  int ends[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) fail("make", "socket pair");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

UniqueFd pidfd_open(pid_t pid) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) fail("open process", std::to_string(pid));
  return fd;
}

std::optional<UniqueFd> pidfd_open_if_alive(pid_t pid) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (fd) return fd;
  // EINVAL: no process has that number any more, but a session or group that one led has.
  if (errno == ESRCH || errno == EINVAL) return std::nullopt;
  fail("open process", std::to_string(pid));
}

bool pidfd_signal(int pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0) return true;
  if (errno == ESRCH) return false;
  fail("signal process", std::to_string(signal));
}

bool pidfd_wait_ended(int pidfd, std::chrono::milliseconds timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd wanted = {pidfd, POLLIN, 0};
    const int ready = ::poll(&wanted, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) fail("wait for process", std::to_string(pidfd));
    if (left.count() <= 0) return false;
  }
}

void set_namespaces(int fd, int namespaces, std::string_view name) {
  if (::setns(fd, namespaces) != 0) fail("enter namespace", name);
}

void unshare(int namespaces, std::string_view what) {
  if (::unshare(namespaces) != 0) fail("unshare", what);
}

void reset_inherited() {
  // Past the C library, which hides two signals of its own (32 and 33) and leaves them ignored in what its
  // posix_spawn(3) starts. All zero is SIG_DFL; EINVAL for SIGKILL and SIGSTOP.
  constexpr uint64_t kDefaultAction[4] = {};  // the kernel's struct sigaction: handler, flags, restorer, mask
  for (int signal = 1; signal < NSIG; ++signal)
    ::syscall(SYS_rt_sigaction, signal, kDefaultAction, nullptr, sizeof(uint64_t));
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(022);
}

void close_range(unsigned first, unsigned last) {
  if (::syscall(SYS_close_range, first, last, 0) != 0) fail("close descriptors from", std::to_string(first));
}

void close_on_exec_from(unsigned first) {
  if (::syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
    fail("set close-on-exec from", std::to_string(first));
}

}  // namespace holm::sys
