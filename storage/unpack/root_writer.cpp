#include "storage/unpack/root_writer.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm::unpack {
namespace {

std::string parent_path_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::string last_name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

[[noreturn]] void fail(std::string_view verb, const std::string& path) {
  throw Error::system(fmt::format("{} '{}'", verb, printable(path)));
}

// The directory at `path`, without following any link; -1 and errno where it is not one.
UniqueFd open_directory(int root, const std::string& path) {
  struct open_how how = {};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  return UniqueFd(
      static_cast<int>(::syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how)));
}

void set_attributes(int fd, const std::string& path, const Metadata& metadata) {
  for (const auto& [name, value] : metadata.attributes) {
    if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) != 0)
      fail(fmt::format("set attribute '{}' of", printable(name)), path);
  }
}

// In this order: a new owner takes set-id bits and file capabilities away.
void set_metadata(int fd, const std::string& path, const Metadata& metadata) {
  if (::fchown(fd, metadata.uid, metadata.gid) != 0) fail("set owner of", path);
  if (::fchmod(fd, metadata.mode) != 0) fail("set mode of", path);
  set_attributes(fd, path, metadata);
}

}  // namespace

UniqueFd RootWriter::open_or_make_directory(const std::string& path) {
  UniqueFd fd = open_directory(root_, path);
  if (fd || path.empty()) {
    if (!fd) fail("open", path);
    return fd;
  }
  if (errno != ENOENT) {
    if (errno == ELOOP || errno == ENOTDIR)
      throw Error(fmt::format("an entry lies below '{}', which is a link or a file, not a directory",
                              printable(path)));
    fail("open directory", path);
  }
  const UniqueFd parent = open_or_make_directory(parent_path_of(path));
  if (::mkdirat(parent.get(), last_name_of(path).c_str(), 0755) != 0) fail("make directory", path);
  fd = open_directory(root_, path);
  if (!fd) fail("open directory", path);
  if (::fchmod(fd.get(), 0755) != 0) fail("set mode of", path);
  return fd;
}

int RootWriter::parent_of(const std::string& path) {
  const std::string parent = parent_path_of(path);
  if (!parent_ || parent != parent_path_) {
    parent_ = open_or_make_directory(parent);
    parent_path_ = parent;
  }
  return parent_.get();
}

// Removes what an earlier entry put there, unless it is a directory.
void RootWriter::make_way(int parent, const std::string& path) {
  if (::unlinkat(parent, last_name_of(path).c_str(), 0) == 0 || errno == ENOENT) return;
  if (errno == EISDIR) throw Error(fmt::format("entry '{}' would replace a directory", printable(path)));
  fail("replace", path);
}

void RootWriter::put_directory(const std::string& path, const Metadata& metadata) {
  if (!path.empty()) {
    const int parent = parent_of(path);
    const std::string name = last_name_of(path);
    struct stat status = {};
    const bool there = ::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !S_ISDIR(status.st_mode)) make_way(parent, path);
    if (!(there && S_ISDIR(status.st_mode)) && ::mkdirat(parent, name.c_str(), 0700) != 0)
      fail("make directory", path);
  }
  const UniqueFd fd = open_directory(root_, path);
  if (!fd) fail("open directory", path);
  set_metadata(fd.get(), path, metadata);
  directory_times_[path] = metadata.modified;
}

UniqueFd RootWriter::make_file(const std::string& path) {
  const int parent = parent_of(path);
  make_way(parent, path);
  UniqueFd fd(
      ::openat(parent, last_name_of(path).c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) fail("make file", path);
  return fd;
}

void RootWriter::finish_file(int fd, const std::string& path, const Metadata& metadata) {
  set_metadata(fd, path, metadata);
  const timespec times[2] = {metadata.modified, metadata.modified};
  if (::futimens(fd, times) != 0) fail("set time of", path);
}

void RootWriter::put_symbolic_link(const std::string& path, const std::string& target,
                                   const Metadata& metadata) {
  if (target.empty()) throw Error(fmt::format("entry '{}' is a link to nothing", printable(path)));
  const int parent = parent_of(path);
  const std::string name = last_name_of(path);
  make_way(parent, path);
  if (::symlinkat(target.c_str(), parent, name.c_str()) != 0) fail("make link", path);
  if (::fchownat(parent, name.c_str(), metadata.uid, metadata.gid, AT_SYMLINK_NOFOLLOW) != 0)
    fail("set owner of", path);
  const timespec times[2] = {metadata.modified, metadata.modified};
  if (::utimensat(parent, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) fail("set time of", path);
}

void RootWriter::put_hard_link(const std::string& path, const std::string& target) {
  if (path == target) return;  // what it names is there already
  const UniqueFd source = open_directory(root_, parent_path_of(target));
  struct stat status = {};
  // Without following it: a link to a symbolic link is one more name for that link.
  if (!source || target.empty() ||
      ::fstatat(source.get(), last_name_of(target).c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    throw Error(fmt::format("entry '{}' is a hard link to '{}', which is not there before it",
                            printable(path), printable(target)));
  if (S_ISDIR(status.st_mode))
    throw Error(fmt::format("entry '{}' is a hard link to '{}', which is a directory", printable(path),
                            printable(target)));
  const int parent = parent_of(path);
  make_way(parent, path);
  if (::linkat(source.get(), last_name_of(target).c_str(), parent, last_name_of(path).c_str(), 0) != 0)
    fail(fmt::format("link '{}' to", printable(target)), path);
}

void RootWriter::put_whiteout(const std::string& path) {
  const int parent = parent_of(path);
  make_way(parent, path);
  if (::mknodat(parent, last_name_of(path).c_str(), S_IFCHR, 0) != 0) fail("make whiteout", path);
}

void RootWriter::put_fifo(const std::string& path, const Metadata& metadata) {
  const int parent = parent_of(path);
  const std::string name = last_name_of(path);
  make_way(parent, path);
  if (::mkfifoat(parent, name.c_str(), metadata.mode & 0777) != 0) fail("make FIFO", path);
  if (::fchownat(parent, name.c_str(), metadata.uid, metadata.gid, AT_SYMLINK_NOFOLLOW) != 0)
    fail("set owner of", path);
}

void RootWriter::finish() {
  for (const auto& [path, modified] : directory_times_) {
    const UniqueFd fd = open_directory(root_, path);
    if (!fd) continue;  // a later entry cannot replace it, so this cannot be; a time is not worth a failure
    const timespec times[2] = {modified, modified};
    if (::futimens(fd.get(), times) != 0) fail("set time of", path);
  }
}

}  // namespace holm::unpack
