#include "quotas/process_census.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <limits.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/unique_fd.h"
#include "quotas/kernel_objects.h"

namespace holm::quotas {
namespace {

using Clock = std::chrono::steady_clock;

// The number behind "KEY:" at a line's begin in /proc/PID/status; 0 where there is none.
uint64_t status_number(std::string_view status, std::string_view key) {
  for (size_t at = status.find(key); at != std::string_view::npos; at = status.find(key, at + 1)) {
    if ((at > 0 && status[at - 1] != '\n') || status.substr(at + key.size(), 1) != ":") continue;
    std::string_view rest = status.substr(at + key.size() + 1);
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(" \t")));
    return parse_unsigned(rest.substr(0, rest.find_first_not_of("0123456789"))).value_or(0);
  }
  return 0;
}

// The directories of /proc vanish with their process, at any moment: closed then.
UniqueFd open_directory(int directory, const char* name) {
  return UniqueFd(::openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// Calls `visit` for each entry that is a number, until it returns false.
template <class Visit>
void each_number(UniqueFd directory, Visit&& visit) {
  if (!directory) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(directory.get()), ::closedir);
  if (!stream) return;
  directory.release();  // the stream's now
  while (const dirent* entry = ::readdir(stream.get())) {
    const auto number = parse_unsigned(entry->d_name);
    if (number && !visit(::dirfd(stream.get()), static_cast<int>(*number))) return;
  }
}

// The number in "socket:[123]"; nothing for what is no socket. A file's path begins with '/'.
std::optional<uint64_t> socket_inode(std::string_view link) {
  constexpr std::string_view kBegin = "socket:[";
  if (!link.starts_with(kBegin) || !link.ends_with(']')) return std::nullopt;
  return parse_unsigned(link.substr(kBegin.size(), link.size() - kBegin.size() - 1));
}

struct Link {
  char text[PATH_MAX];
  ssize_t size = 0;
  std::string_view view() const { return {text, size > 0 ? static_cast<size_t>(size) : 0}; }
};

void read_link(int directory, const std::string& name, Link& link) {
  link.size = ::readlinkat(directory, name.c_str(), link.text, sizeof link.text);
}

// The CPU time of this thread: on a busy host, waiting for a CPU is no reason to look at less.
std::chrono::nanoseconds cpu_time() {
  timespec now = {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

constexpr int kWaitFactor = 6;  // how much longer than its CPU time it may take in all

class Census {
 public:
  explicit Census(std::chrono::milliseconds patience)
      : end_(Clock::now() + patience * kWaitFactor), cpu_end_(cpu_time() + patience) {}

  void add_process(pid_t process);
  bool is_over() {
    if (cpu_time() >= cpu_end_ || Clock::now() >= end_) result_.is_complete = false;
    return !result_.is_complete;
  }
  ProcessCensus result() {
    result_.files += files_.size();
    return std::move(result_);
  }

 private:
  void add_status(pid_t process, const std::string& status);
  void add_table(int directory, pid_t task);
  void add_descriptor(int directory, pid_t task, int descriptor);
  void add_socket(int directory, int descriptor, uint64_t inode);

  Clock::time_point end_;
  std::chrono::nanoseconds cpu_end_;
  ProcessCensus result_;
  KernelObjects files_{KernelObjects::Kind::open_file};
  KernelObjects memories_{KernelObjects::Kind::memory};
  Link link_;
};

void Census::add_process(pid_t process) {
  const UniqueFd directory = open_directory(AT_FDCWD, fmt::format("/proc/{}", process).c_str());
  if (!directory) return;
  std::string status;
  const UniqueFd file(::openat(directory.get(), "status", O_RDONLY | O_CLOEXEC));
  if (!file) return;
  try {
    status = read_fd(file.get(), "status");
  } catch (const Error&) {
    return;  // it has ended (ESRCH)
  }
  result_.processes.insert(process);
  add_status(process, status);
  add_table(directory.get(), process);
  if (status_number(status, "Threads") < 2) return;
  // A thread may have a table of its own; a first thread that has ended has none any more.
  each_number(open_directory(directory.get(), "task"), [&](int tasks, int task) {
    if (task != process && !shares_descriptors(process, task))
      add_table(open_directory(tasks, std::to_string(task).c_str()).get(), task);
    return !is_over();
  });
}

void Census::add_status(pid_t process, const std::string& status) {
  const uint64_t user = status_number(status, "Uid");  // the real one, which signals are counted by
  uint64_t& queued = result_.queued_signals[user];
  queued = std::max(queued, status_number(status, "SigQ"));
  const uint64_t data = status_number(status, "VmData"), stack = status_number(status, "VmStk");
  const uint64_t size = status_number(status, "VmSize");
  if (size == 0) return;
  if (memories_.add(size ^ data << 20, process)) result_.private_memory += (data + stack) * 1024;
}

void Census::add_table(int directory, pid_t task) {
  if (directory < 0) return;
  unsigned count = 0;
  each_number(open_directory(directory, "fd"), [&](int descriptors, int descriptor) {
    add_descriptor(descriptors, task, descriptor);
    return ++count % 256 != 0 || !is_over();
  });
}

void Census::add_descriptor(int directory, pid_t task, int descriptor) {
  read_link(directory, std::to_string(descriptor), link_);
  if (link_.size <= 0) return;  // closed meanwhile
  if (const auto inode = socket_inode(link_.view())) {
    add_socket(directory, descriptor, *inode);
    return;
  }
  const size_t likeness = std::hash<std::string_view>()(link_.view());
  if (files_.add(likeness, task, descriptor) && link_.text[0] == '/')
    result_.named_files.push_back({task, descriptor});
}

// A socket is one open file. Its protocol is asked of a descriptor of ours (O_PATH opens nothing): the number
// in the payload's table may be another file by now, on a file system of the payload's that would never
// answer.
void Census::add_socket(int directory, int descriptor, uint64_t inode) {
  if (result_.tcp_sockets.contains(inode) || result_.other_sockets.contains(inode)) return;
  const UniqueFd own(::openat(directory, std::to_string(descriptor).c_str(), O_PATH | O_CLOEXEC));
  if (!own) return;
  const std::string path = fmt::format("/proc/self/fd/{}", own.get());
  read_link(AT_FDCWD, path, link_);
  if (socket_inode(link_.view()) != inode) return;
  char protocol[64] = {};
  const ssize_t size = ::getxattr(path.c_str(), "system.sockprotoname", protocol, sizeof protocol - 1);
  const bool is_tcp = size > 0 && std::string_view(protocol).starts_with("TCP");
  (is_tcp ? result_.tcp_sockets : result_.other_sockets).insert(inode);
  ++result_.files;
}

}  // namespace

ProcessCensus take_census(const std::vector<pid_t>& processes, std::chrono::milliseconds patience) {
  Census census(patience);
  for (const pid_t process : processes) {
    if (census.is_over()) break;
    census.add_process(process);
  }
  return census.result();
}

}  // namespace holm::quotas
