#include "storage/unpack/copy_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <memory>

#include "base/error.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "storage/file_copy.h"

namespace holm::unpack {
namespace {

using storage::EntryDecision;
using storage::EntryKind;

EntryKind kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return EntryKind::directory;
    case S_IFREG:
      return EntryKind::regular;
    case S_IFLNK:
      return EntryKind::symbolic_link;
    case S_IFCHR:
      return EntryKind::character_device;
    case S_IFBLK:
      return EntryKind::block_device;
    case S_IFIFO:
      return EntryKind::fifo;
    case S_IFSOCK:
      return EntryKind::socket;
    default:
      return EntryKind::unknown;
  }
}

class DirectoryCopy {
 public:
  DirectoryCopy(const struct stat& source, const struct stat& target, RootWriter& writer,
                storage::ImportBudget& budget, Notes& notes)
      : source_(source), target_(target), writer_(writer), budget_(budget), notes_(notes) {}

  void copy_directory(int fd, const std::string& path) {
    const struct stat status = sys::stat_fd(fd, printable(path));
    if (status.st_dev == target_.st_dev && status.st_ino == target_.st_ino) {
      notes_.add("directories: the template itself", path);
      return;
    }
    writer_.put_directory(path, metadata_of(status, path, attributes_of(fd, path)));
    if (status.st_dev != source_.st_dev) {
      notes_.add("file systems that are mounted in it", path);
      return;
    }
    copy_entries(fd, path);
  }

 private:
  void copy_entries(int fd, const std::string& path) {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(::fcntl(fd, F_DUPFD_CLOEXEC, 4)),
                                                     ::closedir);
    if (!stream) throw Error::system(fmt::format("read directory '{}'", printable(path)));
    for (;;) {
      errno = 0;
      const dirent* entry = ::readdir(stream.get());
      if (!entry && errno != 0) throw Error::system(fmt::format("read directory '{}'", printable(path)));
      if (!entry) return;
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      copy_entry(fd, name, storage::entry_path(path + "/" + name));
      fault_point("unpack entry");
    }
  }

  void copy_entry(int directory, const std::string& name, const std::string& path) {
    struct stat status = {};
    if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      throw Error::system(fmt::format("stat '{}'", printable(path)));
    budget_.add_entry();
    const EntryKind kind = kind_of(status.st_mode);
    if (storage::decide_entry(kind, path) == EntryDecision::leave_out) {
      notes_.add("FIFOs or sockets", path);
      return;
    }
    if (kind == EntryKind::directory) {
      const UniqueFd fd = sys::open_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      copy_directory(fd.get(), path);
    } else if (!link_to_copy(status, path)) {
      if (kind == EntryKind::symbolic_link) copy_link(directory, name, status, path);
      if (kind == EntryKind::regular) copy_file(directory, name, path);
      if (status.st_nlink > 1) copies_[{status.st_dev, status.st_ino}] = path;
    }
  }

  // A second name of what was copied before.
  bool link_to_copy(const struct stat& status, const std::string& path) {
    if (status.st_nlink < 2) return false;
    const auto copy = copies_.find({status.st_dev, status.st_ino});
    if (copy == copies_.end()) return false;
    writer_.put_hard_link(path, copy->second);
    return true;
  }

  void copy_link(int directory, const std::string& name, const struct stat& status, const std::string& path) {
    char target[PATH_MAX];
    const ssize_t size = ::readlinkat(directory, name.c_str(), target, sizeof target);
    if (size < 0) throw Error::system(fmt::format("read link '{}'", printable(path)));
    writer_.put_symbolic_link(path, std::string(target, static_cast<size_t>(size)),
                              metadata_of(status, path, {}));
  }

  void copy_file(int directory, const std::string& name, const std::string& path) {
    // O_NONBLOCK: it may have become a FIFO since it was looked at.
    const UniqueFd from = sys::open_at(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    const struct stat status = sys::stat_fd(from.get(), printable(path));
    if (!S_ISREG(status.st_mode)) throw Error(fmt::format("'{}' changed while it was read", printable(path)));
    budget_.check_bytes(status.st_size, path);
    const UniqueFd to = writer_.make_file(path);
    storage::copy_content(from.get(), to.get(), printable(path),
                          [&](uint64_t bytes) { budget_.add_bytes(bytes, path); });
    writer_.finish_file(to.get(), path, metadata_of(status, path, attributes_of(from.get(), path)));
  }

  std::vector<std::pair<std::string, std::string>> attributes_of(int fd, const std::string& path) {
    std::vector<std::pair<std::string, std::string>> attributes;
    std::string names(65536, '\0');  // XATTR_LIST_MAX
    const ssize_t length = ::flistxattr(fd, names.data(), names.size());
    if (length <= 0) return attributes;  // none, or a file system without
    names.resize(static_cast<size_t>(length));
    for (const std::string& name : split(names, '\0')) {
      if (name.empty()) continue;
      std::string value(65536, '\0');  // XATTR_SIZE_MAX
      const ssize_t size = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
      value.resize(size < 0 ? 0 : static_cast<size_t>(size));
      if (size >= 0 && storage::is_taken_attribute(name, value.size())) {
        attributes.emplace_back(name, std::move(value));
      } else {
        notes_.add("extended attributes that are not taken", path);
      }
    }
    return attributes;
  }

  static Metadata metadata_of(const struct stat& status, const std::string& path,
                              std::vector<std::pair<std::string, std::string>> attributes) {
    storage::check_owner(status.st_uid, status.st_gid, path);
    return {status.st_uid, status.st_gid, status.st_mode & 07777, status.st_mtim, std::move(attributes)};
  }

  struct stat source_;
  struct stat target_;
  RootWriter& writer_;
  storage::ImportBudget& budget_;
  Notes& notes_;
  std::map<std::pair<dev_t, ino_t>, std::string> copies_;  // files with more than one name
};

}  // namespace

void copy_directory(int source, int target, RootWriter& writer, storage::ImportBudget& budget, Notes& notes) {
  DirectoryCopy copy(sys::stat_fd(source, "the source"), sys::stat_fd(target, "the target"), writer, budget,
                     notes);
  copy.copy_directory(source, "");
}

}  // namespace holm::unpack
