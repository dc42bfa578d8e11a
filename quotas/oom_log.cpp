#include "quotas/oom_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/text.h"

namespace holm::quotas {
namespace {

// The value of ",KEY=" up to the next ",NEXT=".
std::optional<std::string_view> value_between(std::string_view text, std::string_view key,
                                              std::string_view next) {
  const size_t at = text.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  const size_t begin = at + key.size();
  // The last one: a process may have ",pid=1" in its name, but what follows the name is the kernel's.
  const size_t end = text.rfind(next);
  if (end == std::string_view::npos || end < begin) return std::nullopt;
  return text.substr(begin, end - begin);
}

// The first number of a record is the level and, times 8, who wrote it: 0 is the kernel, all others are
// programs.
bool is_of_kernel(std::string_view record) {
  const auto priority = parse_unsigned(record.substr(0, record.find(',')));
  return priority && *priority < 8;
}

bool is_in_group(std::string_view path, std::string_view group) {
  return path.starts_with(group) && (path.size() == group.size() || path[group.size()] == '/');
}

}  // namespace

// "6,1234,5678,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=7,mems_allowed=0,
//  oom_memcg=/holm/7,task_memcg=/holm/7,task=tail,pid=4711,uid=100000" (one line); without a limit that was
// reached, "global_oom" stands where oom_memcg does. Groups have no "," in what Holm names; in what a
// container names, only behind its own group's path.
std::optional<OomKill> parse_oom_record(std::string_view record, std::string_view group) {
  const size_t text = record.find(';');
  if (text == std::string_view::npos || !record.substr(text + 1).starts_with("oom-kill:") ||
      !is_of_kernel(record))
    return std::nullopt;
  const std::string_view line = record.substr(text + 1, record.find('\n', text) - text - 1);
  const size_t at = line.find(",task_memcg=");
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = line.substr(at + std::string_view(",task_memcg=").size());
  const size_t path_end = rest.find(',', group.size());
  if (path_end == std::string_view::npos || !is_in_group(rest.substr(0, path_end), group))
    return std::nullopt;
  const size_t pid_at = rest.rfind(",pid=");
  if (pid_at == std::string_view::npos) return std::nullopt;
  const auto name = value_between(rest.substr(path_end), ",task=", ",pid=");
  const auto pid = value_between(rest.substr(pid_at), ",pid=", ",uid=");
  const auto number = pid ? parse_unsigned(*pid) : std::nullopt;
  if (!name || !number) return std::nullopt;
  return OomKill{std::string(*name), static_cast<pid_t>(*number),
                 line.substr(0, at).find(",global_oom") == std::string_view::npos};
}

OomLog::OomLog() : log_(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
  if (log_) ::lseek(log_.get(), 0, SEEK_END);
}

std::vector<OomKill> OomLog::take(std::string_view group) {
  std::vector<OomKill> kills;
  char record[8192];  // the kernel's own limit is below that
  while (log_) {
    const ssize_t size = ::read(log_.get(), record, sizeof record);
    if (size < 0 && (errno == EPIPE || errno == EINTR)) continue;  // EPIPE: some were overwritten
    if (size <= 0) break;
    if (auto kill = parse_oom_record({record, static_cast<size_t>(size)}, group))
      kills.push_back(std::move(*kill));
  }
  return kills;
}

}  // namespace holm::quotas
