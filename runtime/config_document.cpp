#include "runtime/config_document.h"

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"

namespace holm::runtime {
namespace {

// More would only hide the first ones.
constexpr size_t kMaxAlso = 15;

std::string place(const std::string& file_name, const Position& at) {
  return at.line == 0 ? file_name : fmt::format("{}:{}:{}", file_name, at.line, at.column);
}

std::string describe_file_type(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "a socket";
}

// In the file's order; what concerns the file as a whole comes last, because a misspelt key often explains
// it.
bool is_before(const ConfigProblem& a, const ConfigProblem& b) {
  if ((a.at.line == 0) != (b.at.line == 0)) return b.at.line == 0;
  return a.at < b.at;
}

UniqueFd open_config_file(const std::string& path, std::string_view kind) {
  try {
    // O_NONBLOCK: the open of a FIFO without a writer would wait forever.
    return sys::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  } catch (Error& error) {
    if (error.error_number() == ENOENT || error.error_number() == ENOTDIR)
      throw usage_error(fmt::format("{} '{}': not found", kind, path))
          .hint("check the path; 'holm config show --defaults' prints a complete file to begin with");
    throw error.frame(kind).exit_status(kExitUsage);
  }
}

}  // namespace

std::string_view describe_kind(ConfigValue::Kind kind) {
  switch (kind) {
    case ConfigValue::Kind::text:
      return "a string";
    case ConfigValue::Kind::whole_number:
      return "a whole number";
    case ConfigValue::Kind::fraction:
      return "a number with a fraction";
    case ConfigValue::Kind::boolean:
      return "a boolean";
    case ConfigValue::Kind::date:
      return "a date or time";
    case ConfigValue::Kind::list:
      return "a list";
    case ConfigValue::Kind::table:
      return "a table";
  }
  return "a value";
}

void throw_problems(std::vector<ConfigProblem> problems, const std::string& file_name,
                    std::string_view subject) {
  if (problems.empty()) return;
  std::ranges::stable_sort(problems, is_before);
  const bool has_places = !file_name.empty();
  Error error = usage_error(has_places ? fmt::format("{}: {}", subject, problems.front().message)
                                       : problems.front().message);
  if (has_places) error.at(place(file_name, problems.front().at));
  if (!problems.front().hint.empty()) error.hint(problems.front().hint);
  for (size_t i = 1; i < problems.size() && i <= kMaxAlso; ++i) {
    const ConfigProblem& problem = problems[i];
    const std::string hint = problem.hint.empty() ? "" : fmt::format(" ({})", problem.hint);
    const std::string at = has_places ? place(file_name, problem.at) + ": " : "";
    error.also(fmt::format("{}{}{}", at, problem.message, hint));
  }
  if (problems.size() > kMaxAlso + 1) error.also(fmt::format("{} more", problems.size() - kMaxAlso - 1));
  throw error;
}

std::string read_config_file(const std::string& path, std::string_view kind) {
  const UniqueFd fd = open_config_file(path, kind);
  const struct stat status = sys::stat_fd(fd.get(), path);
  if (!S_ISREG(status.st_mode))
    throw usage_error(
        fmt::format("{} '{}': is {}, not a regular file", kind, path, describe_file_type(status.st_mode)));
  if (static_cast<uint64_t>(status.st_size) > kMaxSmallFile)
    throw usage_error(fmt::format("{} '{}': larger than 1 MiB", kind, path));
  try {
    return read_fd(fd.get(), path);
  } catch (Error& error) {
    throw error.frame(kind).exit_status(kExitUsage);
  }
}

}  // namespace holm::runtime
