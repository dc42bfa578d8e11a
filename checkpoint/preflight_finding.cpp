#include "checkpoint/preflight_finding.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <limits.h>
#include <unistd.h>

#include <array>

namespace holm::checkpoint {

UniqueFd open_process_directory(pid_t process, const std::string& below) {
  const std::string path = fmt::format("/proc/{}/{}", process, below);
  return UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

std::optional<std::string> read_begin(int directory, const std::string& name, size_t limit) {
  const UniqueFd file(::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::string text;
  std::array<char, 16384> buffer;
  while (text.size() < limit) {
    const ssize_t size = ::read(file.get(), buffer.data(), buffer.size());
    if (size < 0) return std::nullopt;
    if (size == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(size));
  }
  text.erase(text.rfind('\n') + 1);
  return text;
}

std::string link_text(int directory, const std::string& name) {
  std::array<char, PATH_MAX> text;
  const ssize_t size = ::readlinkat(directory, name.c_str(), text.data(), text.size());
  return size > 0 ? std::string(text.data(), static_cast<size_t>(size)) : std::string();
}

}  // namespace holm::checkpoint
