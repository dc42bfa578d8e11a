#include "quotas/control_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/unique_fd.h"

namespace holm::quotas {
namespace {

uint64_t page_size() {
  static const auto size = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

// What the kernel's page counters make of a number of bytes: whole pages, at most as many as fit a signed
// 64-bit size.
uint64_t round_to_pages(uint64_t bytes) {
  constexpr auto kMaxBytes = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  return std::min(bytes, kMaxBytes) / page_size() * page_size();
}

uint64_t unlimited_bytes() { return round_to_pages(std::numeric_limits<uint64_t>::max()); }

// The bytes that a limit file holds; nothing where it is neither a number nor unlimited.
std::optional<uint64_t> parse_limit(std::string_view text) {
  if (text == "max" || text == "-1") return unlimited_bytes();
  const auto number = parse_unsigned(text);
  return number ? std::optional(round_to_pages(*number)) : std::nullopt;
}

// Writes in one write(2) and returns what the file then holds.
std::string write_and_read(const std::string& path, std::string_view value) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_TRUNC | O_CLOEXEC));
  if (!fd || ::write(fd.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size())) {
    Error error = Error::system(fmt::format("write '{}' to '{}'", value, path));
    if (error.error_number() == ENOENT) error.hint("this kernel's cgroup controller has no such setting");
    throw error;
  }
  char buffer[4096];
  const ssize_t size = ::pread(fd.get(), buffer, sizeof buffer, 0);
  if (size < 0) throw Error::system(fmt::format("read back '{}'", path));
  return std::string(trim(std::string_view(buffer, static_cast<size_t>(size))));
}

// Nothing where the group is gone; ENODEV: it was removed after the file was opened.
std::optional<std::string> read_of_group(const std::string& path) {
  try {
    return read_file_if_exists(path);
  } catch (const Error& error) {
    if (error.error_number() == ENODEV) return std::nullopt;
    throw;
  }
}

[[noreturn]] void throw_not_taken(const std::string& path, std::string_view wanted, std::string_view found) {
  throw Error(fmt::format("write '{}' to '{}': the kernel holds '{}'", wanted, path, found));
}

}  // namespace

std::optional<std::string> read_control(const std::string& path) {
  const auto text = read_of_group(path);
  return text ? std::optional(std::string(trim(*text))) : std::nullopt;
}

std::optional<uint64_t> read_number(const std::string& path) {
  const auto text = read_control(path);
  return text ? parse_unsigned(*text) : std::nullopt;
}

std::optional<Bytes> read_bytes(const std::string& path) {
  const auto text = read_control(path);
  return text ? parse_bytes_of_limit(*text) : std::nullopt;
}

std::optional<Bytes> parse_bytes_of_limit(std::string_view text) {
  const auto number = parse_unsigned(text);
  if (!number || round_to_pages(*number) == unlimited_bytes()) return std::nullopt;
  return Bytes{*number};
}

std::optional<uint64_t> find_keyed(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t blank = line.find(' ');
    if (blank != std::string_view::npos && line.substr(0, blank) == key)
      return parse_unsigned(line.substr(blank + 1));
  }
  return std::nullopt;
}

std::optional<uint64_t> read_keyed(const std::string& path, std::string_view key) {
  const auto text = read_of_group(path);
  return text ? find_keyed(*text, key) : std::nullopt;
}

void write_checked(const std::string& path, std::string_view value) {
  const std::string found = write_and_read(path, value);
  if (found != trim(value)) throw_not_taken(path, trim(value), found);
}

void write_bytes_checked(const std::string& path, std::optional<Bytes> value, std::string_view unlimited) {
  const std::string wanted = value ? fmt::format("{}", value->count) : std::string(unlimited);
  const std::string found = write_and_read(path, wanted);
  if (parse_limit(found) != parse_limit(wanted)) throw_not_taken(path, wanted, found);
}

}  // namespace holm::quotas
