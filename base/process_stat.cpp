#include "base/process_stat.h"

#include <fmt/core.h>

#include <cerrno>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace holm {
namespace {

constexpr size_t kFirst = 3;  // behind the name, which may hold blanks and parentheses

}  // namespace

std::optional<ProcessStat> ProcessStat::parse(std::string_view text) {
  const size_t end = text.rfind(')');
  if (end == std::string_view::npos) return std::nullopt;
  ProcessStat stat;
  stat.fields_ = split_words(text.substr(end + 1));
  if (stat.fields_.size() < 2 || stat.fields_.front().size() != 1) return std::nullopt;
  return stat;
}

char ProcessStat::state() const { return fields_.front().front(); }

pid_t ProcessStat::parent() const { return static_cast<pid_t>(field(4)); }

uint64_t ProcessStat::field(size_t number) const {
  const size_t index = number - kFirst;
  return index < fields_.size() ? parse_unsigned(fields_[index]).value_or(0) : 0;
}

std::optional<ProcessStat> read_process_stat(pid_t pid) {
  try {
    const auto text = read_file_if_exists(fmt::format("/proc/{}/stat", pid));
    return text ? ProcessStat::parse(*text) : std::nullopt;
  } catch (const Error& error) {
    if (error.error_number() == ESRCH) return std::nullopt;  // it ended while it was read
    throw;
  }
}

}  // namespace holm
