#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/error.h"
#include "base/process_stat.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm {
namespace {

constexpr std::string_view kUnfinished = ".new";  // behind the pid of its writer

// A file that this process alone writes. One of that name is left from a process that died, or put there by
// whoever else may write to the directory: it goes.
UniqueFd make_new(const std::string& path, mode_t mode) {
  ::unlink(path.c_str());
  return sys::open(path, O_WRONLY | O_CREAT | O_EXCL, mode);
}

void replace(const std::string& path, std::string_view content, mode_t mode, Durability durability) {
  const std::string temporary = fmt::format("{}.{}{}", path, ::getpid(), kUnfinished);
  try {
    const UniqueFd fd = make_new(temporary, mode);
    sys::write_all(fd.get(), content, path);
    if (durability == Durability::survives_crash) sys::sync_fd(fd.get(), path);
    sys::rename(temporary, path);
  } catch (const Error&) {
    ::unlink(temporary.c_str());  // the first error is the one to tell
    throw;
  }
  if (durability == Durability::survives_crash) sync_directory(parent_of(path));
}

}  // namespace

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string read_fd(int fd, std::string_view name, size_t limit) {
  std::string content;
  char buffer[16384];
  for (;;) {
    const ssize_t size = ::read(fd, buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) throw Error::system(fmt::format("read '{}'", name));
    if (size == 0) return content;
    content.append(buffer, static_cast<size_t>(size));
    if (content.size() > limit) throw Error(fmt::format("read '{}': larger than {} bytes", name, limit));
  }
}

std::string read_file(const std::string& path, size_t limit) {
  return read_fd(sys::open(path, O_RDONLY).get(), path, limit);
}

std::optional<std::string> read_file_if_exists(const std::string& path, size_t limit) {
  const auto fd = sys::open_if_exists(path, O_RDONLY);
  if (!fd) return std::nullopt;
  return read_fd(fd->get(), path, limit);
}

void write_control_file(const std::string& path, std::string_view value) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  // Without a second write: kernel files act on each write separately.
  if (!fd || ::write(fd.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
    throw Error::system(fmt::format("write '{}' to '{}'", value, path));
}

void write_file_durably(const std::string& path, std::string_view content, mode_t mode) {
  replace(path, content, mode, Durability::survives_crash);
}

void replace_file(const std::string& path, std::string_view content, mode_t mode) {
  replace(path, content, mode, Durability::until_reboot);
}

bool is_left_by(std::string_view pid) {
  const auto number = parse_unsigned(pid);
  if (!number || *number > INT32_MAX) return false;
  const auto stat = read_process_stat(static_cast<pid_t>(*number));
  return !stat || stat->state() == 'Z';  // nobody has waited for that, and it writes nothing any more
}

void remove_unfinished(const std::string& directory) {
  for (const std::string& name : list_directory(directory)) {
    if (!name.ends_with(kUnfinished)) continue;
    const std::string_view rest = std::string_view(name).substr(0, name.size() - kUnfinished.size());
    const size_t dot = rest.rfind('.');
    if (dot != std::string_view::npos && is_left_by(rest.substr(dot + 1)))
      sys::remove_file(directory + "/" + name);
  }
}

std::vector<std::string> list_directory(const std::string& path) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(path.c_str()), ::closedir);
  if (!stream) {
    if (errno == ENOENT) return names;
    throw Error::system(fmt::format("read directory '{}'", path));
  }
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void sync_directory(const std::string& path) {
  sys::sync_fd(sys::open(path, O_RDONLY | O_DIRECTORY).get(), path);
}

std::optional<std::string> read_file_in_root(int root, const std::string& path) {
  try {
    const UniqueFd fd =
        sys::open_confined(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, sys::Confine::in_root);
    if (!S_ISREG(sys::stat_fd(fd.get(), path).st_mode))
      throw Error(fmt::format("read '{}' inside the container: not a regular file", path));
    return read_fd(fd.get(), path);
  } catch (const Error& error) {
    if (error.error_number() == ENOENT || error.error_number() == ENOTDIR) return std::nullopt;
    throw;
  }
}

}  // namespace holm
