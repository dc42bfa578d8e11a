#include "quotas/file_locks.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/unique_fd.h"

namespace holm::quotas {
namespace {

using Clock = std::chrono::steady_clock;

// The kernel goes through its whole list again for each page that is read, with all locking stopped, and
// waits for each process that is just locking: a payload with a million locks, or a hundred processes that
// lock all the time, must not make that a minute. 4 MiB are some 70 000 locks.
constexpr size_t kMaxText = 4 << 20;
constexpr std::chrono::seconds kMaxTime(2);

// The file's begin, whole lines only.
std::string read_begin(const char* path, Clock::time_point end, bool& is_complete) {
  std::string text;
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return text;
  char buffer[65536];
  for (ssize_t size = 1; size > 0;) {
    is_complete = text.size() < kMaxText && Clock::now() < end;
    if (!is_complete) break;
    size = ::read(fd.get(), buffer, sizeof buffer);
    if (size > 0) text.append(buffer, static_cast<size_t>(size));
  }
  text.erase(text.rfind('\n') + 1);
  return text;
}

// One line: "2: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; "2: -> FLOCK ..." only waits for it.
void count_line(std::string_view line, const std::unordered_set<pid_t>& processes,
                const std::function<bool(pid_t)>& is_alive, LockCount& count) {
  const std::vector<std::string> words = split_words(line);
  if (words.size() < 6 || words[1] == "->") return;
  const auto number = parse_signed(words[4]);  // -1: of an open file description
  if (!number) return;
  const auto process = static_cast<pid_t>(*number);
  if (processes.contains(process))
    ++count.held;
  else if (words[1] != "POSIX" && (process <= 0 || !is_alive(process)))  // POSIX ones end with their process
    ++count.orphan;
}

// The locks that belong to an open file, whoever took them.
uint64_t locks_of_file(const OpenFile& file, const std::unordered_set<pid_t>& processes) {
  const std::string path = fmt::format("/proc/{}/fdinfo/{}", file.process, file.descriptor);
  std::string locks;
  try {
    for (const std::string& line : split(read_file_if_exists(path).value_or(""), '\n'))
      if (line.starts_with("lock:")) locks += line.substr(5) + '\n';
  } catch (const Error&) {
    return 0;  // closed meanwhile, or its process has ended
  }
  return count_lock_lines(locks, processes, [](pid_t) { return false; }).orphan;
}

}  // namespace

LockCount count_lock_lines(std::string_view text, const std::unordered_set<pid_t>& processes,
                           const std::function<bool(pid_t)>& is_alive) {
  LockCount count;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    count_line(line, processes, is_alive, count);
  }
  return count;
}

HeldLocks count_file_locks(const ProcessCensus& census) {
  const auto end = Clock::now() + kMaxTime;
  HeldLocks held;
  const LockCount count =
      count_lock_lines(read_begin("/proc/locks", end, held.is_complete), census.processes,
                       [](pid_t process) { return ::kill(process, 0) == 0 || errno != ESRCH; });
  held.count = count.held;
  if (count.orphan == 0) return held;
  for (const OpenFile& file : census.named_files) {
    if (!held.is_complete) break;
    held.count += locks_of_file(file, census.processes);
    held.is_complete = Clock::now() < end;
  }
  return held;
}

}  // namespace holm::quotas
