#include "quotas/disk_use.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/sys.h"
#include "base/unique_fd.h"

namespace holm::quotas {
namespace {

using Clock = std::chrono::steady_clock;

// Deeper directories are closed while one goes on below them, and found again by "..".
constexpr size_t kKeptOpen = 128;
constexpr uint64_t kBlock = 512;  // the unit of st_blocks, whatever the file system's own is (stat(3type))

// The container makes and removes files while we look: what is not there any more is passed over.
UniqueFd open_below(int directory, const char* name) {
  return UniqueFd(::openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
}

class Walk {
 public:
  Walk(UniqueFd top, Clock::time_point end) : end_(end) { enter(std::move(top)); }
  // False where the time is over first.
  bool run();
  const DiskUse& use() const { return use_; }

 private:
  struct Level {
    UniqueFd fd;  // closed above the deepest kKeptOpen
    dev_t device = 0;
    ino_t inode = 0;
    std::vector<std::string> pending;  // directories in it that are still to be visited
  };

  void enter(UniqueFd fd);
  void leave();
  void look_at(Level& level, const char* name);
  bool is_over() { return ++steps_ % 256 == 0 && Clock::now() >= end_; }

  Clock::time_point end_;
  uint64_t steps_ = 0;
  bool is_late_ = false;
  DiskUse use_;
  std::vector<Level> levels_;
  std::set<ino_t> linked_;  // those with several names
};

bool Walk::run() {
  while (!levels_.empty() && !is_late_) {
    Level& level = levels_.back();
    if (level.pending.empty()) {
      leave();
      continue;
    }
    const std::string name = std::move(level.pending.back());
    level.pending.pop_back();
    enter(open_below(level.fd.get(), name.c_str()));
  }
  return !is_late_;
}

void Walk::enter(UniqueFd fd) {
  struct stat status = {};
  if (!fd || ::fstat(fd.get(), &status) != 0) return;
  if (!levels_.empty() && status.st_dev != levels_.front().device) return;
  UniqueFd copy(::openat(fd.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(copy ? ::fdopendir(copy.get()) : nullptr, ::closedir);
  if (!stream) return;
  copy.release();  // the stream's now
  Level level{std::move(fd), status.st_dev, status.st_ino, {}};
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") look_at(level, entry->d_name);
    if (is_over()) {
      is_late_ = true;
      return;
    }
  }
  if (levels_.size() >= kKeptOpen) levels_.back().fd.reset();
  levels_.push_back(std::move(level));
}

void Walk::look_at(Level& level, const char* name) {
  struct stat status = {};
  if (::fstatat(level.fd.get(), name, &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) return;
  if (status.st_dev != level.device) return;
  const bool is_directory = S_ISDIR(status.st_mode);
  if (!is_directory && status.st_nlink > 1 && !linked_.insert(status.st_ino).second) return;
  use_.bytes += static_cast<uint64_t>(status.st_blocks) * kBlock;
  ++use_.inodes;
  if (is_directory) level.pending.emplace_back(name);
}

// Back to the directory above. Where ".." is another one, as the container moved this one away meanwhile,
// what is left of the closed levels is passed over.
void Walk::leave() {
  const Level left = std::move(levels_.back());
  levels_.pop_back();
  while (!levels_.empty() && !levels_.back().fd) {
    Level& level = levels_.back();
    UniqueFd above = left.fd ? open_below(left.fd.get(), "..") : UniqueFd();
    struct stat status = {};
    if (above && ::fstat(above.get(), &status) == 0 && status.st_dev == level.device &&
        status.st_ino == level.inode) {
      level.fd = std::move(above);
      return;
    }
    levels_.pop_back();
  }
}

// Nothing where the directory is only a part of a file system.
std::optional<DiskUse> ask_file_system(int directory) {
  struct statx status = {};
  struct statfs system = {};
  if (::statx(directory, "", AT_EMPTY_PATH, STATX_INO, &status) != 0) return std::nullopt;
  if (!(status.stx_attributes & STATX_ATTR_MOUNT_ROOT)) return std::nullopt;
  if (::fstatfs(directory, &system) != 0) return std::nullopt;
  const auto block = static_cast<uint64_t>(system.f_frsize);
  DiskUse use;
  use.bytes = (system.f_blocks - system.f_bfree) * block;
  use.bytes_limit = system.f_blocks * block;
  // btrfs makes inodes as it needs them and says 0.
  if (system.f_files > 0) {
    use.inodes = system.f_files - system.f_ffree;
    use.inodes_limit = system.f_files;
  }
  return use;
}

}  // namespace

std::optional<DiskUse> measure_disk_use(const std::string& directory, std::chrono::milliseconds patience) {
  UniqueFd top = sys::open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (auto use = ask_file_system(top.get())) return use;
  Walk walk(std::move(top), Clock::now() + patience);
  if (!walk.run()) return std::nullopt;
  return walk.use();
}

void add_disk_facts(const DiskUse& use, Facts& facts) {
  facts.disk_bytes = use.bytes;
  facts.disk_bytes_limit = use.bytes_limit;
  facts.disk_inodes = use.inodes;
  facts.disk_inodes_limit = use.inodes_limit;
}

}  // namespace holm::quotas
