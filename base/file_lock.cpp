#include "base/file_lock.h"

#include <fmt/core.h>
#include <sys/file.h>

#include <cerrno>
#include <thread>

#include "base/error.h"
#include "base/sys.h"

namespace holm {
namespace {

// A lock on a file that was unlinked meanwhile guards nothing.
bool is_current(int fd, const std::string& path) {
  const auto on_disk = sys::stat_path(path);
  const struct stat held = sys::stat_fd(fd, path);
  return on_disk && on_disk->st_ino == held.st_ino && on_disk->st_dev == held.st_dev;
}

}  // namespace

std::optional<FileLock> FileLock::try_acquire(const std::string& path) {
  for (;;) {
    UniqueFd fd = sys::open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK || errno == EINTR) return std::nullopt;
      throw Error::system(fmt::format("lock '{}'", path));
    }
    if (is_current(fd.get(), path)) return FileLock(std::move(fd));
  }
}

FileLock FileLock::acquire(const std::string& path, std::chrono::milliseconds timeout,
                           const std::string& busy_message) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  std::chrono::microseconds pause(200);
  for (;;) {
    if (auto lock = try_acquire(path)) return std::move(*lock);
    if (std::chrono::steady_clock::now() >= end) throw Error(busy_message);
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(20000));
  }
}

}  // namespace holm
