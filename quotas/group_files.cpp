#include "quotas/group_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "quotas/control_file.h"

namespace holm::quotas {
namespace {

// A file that is no longer than the buffer comes in one read(2): the kernel makes its text as a whole.
std::optional<std::string> read_whole(int fd, const std::string& name) {
  char buffer[4096];
  ssize_t size = 0;
  while ((size = ::read(fd, buffer, sizeof buffer)) < 0 && errno == EINTR) {
  }
  if (size < 0 && errno == ENODEV) return std::nullopt;  // removed after it was opened
  if (size < 0) throw Error::system("read '" + name + "' of a control group");
  std::string text(buffer, static_cast<size_t>(size));
  if (text.size() == sizeof buffer) text += read_fd(fd, name);
  return std::string(trim(text));
}

}  // namespace

// The inode number of a group is its id in the kernel, half of which counts how often the other half was
// used.
GroupFiles::GroupFiles(const std::string& directory)
    : directory_(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
  struct stat status = {};
  if (directory_ && ::fstat(directory_.get(), &status) == 0) life_ = status.st_ino;
}

const std::optional<std::string>& GroupFiles::text(const std::string& name) {
  const auto [place, is_new] = texts_.try_emplace(name);
  if (!is_new || !directory_) return place->second;
  const UniqueFd fd(::openat(directory_.get(), name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno != ENOENT && errno != ENODEV)
    throw Error::system("read '" + name + "' of a control group");
  if (!fd) return place->second;
  place->second = read_whole(fd.get(), name);
  return place->second;
}

std::optional<uint64_t> GroupFiles::number(const std::string& name) {
  const auto& found = text(name);
  return found ? parse_unsigned(*found) : std::nullopt;
}

std::optional<Bytes> GroupFiles::bytes(const std::string& name) {
  const auto& found = text(name);
  return found ? parse_bytes_of_limit(*found) : std::nullopt;
}

std::optional<uint64_t> GroupFiles::keyed(const std::string& name, std::string_view key) {
  const auto& found = text(name);
  return found ? find_keyed(*found, key) : std::nullopt;
}

}  // namespace holm::quotas
