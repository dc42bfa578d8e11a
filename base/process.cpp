#include "base/process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm {
namespace {

constexpr size_t kMaxOutput = 4 << 20;
constexpr size_t kMaxErrors = 64 << 10;

// Reads what is there; false at the end of the stream.
bool read_some(int fd, std::string& into, size_t keep) {
  char buffer[16384];
  const ssize_t size = ::read(fd, buffer, sizeof buffer);
  if (size < 0 && errno == EINTR) return true;
  if (size <= 0) return false;
  into.append(buffer, static_cast<size_t>(size));
  if (into.size() > keep) into.erase(0, into.size() - keep);
  return true;
}

void collect(UniqueFd& output, UniqueFd& errors, ProgramResult& result) {
  while (output || errors) {
    pollfd wanted[2] = {{output.get(), POLLIN, 0}, {errors.get(), POLLIN, 0}};
    if (::poll(wanted, 2, -1) < 0 && errno != EINTR) throw Error::system("wait for a program's output");
    if (wanted[0].revents && !read_some(output.get(), result.output, kMaxOutput)) output.reset();
    if (wanted[1].revents && !read_some(errors.get(), result.errors, kMaxErrors)) errors.reset();
  }
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) throw Error::system(fmt::format("wait for process '{}'", pid));
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

ProgramResult run_program(const std::vector<std::string>& command, ProgramOutput output) {
  auto [out_read, out_write] = sys::pipe();
  auto [error_read, error_write] = sys::pipe();
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out_write.get(), 1);
  if (output == ProgramOutput::capture) ::posix_spawn_file_actions_adddup2(&actions, error_write.get(), 2);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int failure = ::posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) throw Error::system(failure, fmt::format("run '{}'", command.front()));
  out_write.reset();
  error_write.reset();
  ProgramResult result;
  collect(out_read, error_read, result);
  result.exit_status = wait_for(pid);
  return result;
}

std::string run_program_or_throw(const std::vector<std::string>& command, ProgramOutput output) {
  ProgramResult result = run_program(command, output);
  if (result.exit_status == 0) return std::move(result.output);
  const std::string_view errors = trim(result.errors);
  throw Error(fmt::format("run '{}': exit status {}{}{}", join(command, " "), result.exit_status,
                          errors.empty() ? "" : ": ", printable(errors.substr(errors.rfind('\n') + 1))));
}

void kill_processes(const std::function<bool(pid_t)>& is_meant) {
  constexpr std::chrono::milliseconds kPatience(2000);
  // One that forked while the list was read is found by the next look. What does not end is left.
  for (bool ended = true; ended;) {
    ended = false;
    for (const std::string& name : list_directory("/proc")) {
      const auto pid = static_cast<pid_t>(parse_unsigned(name).value_or(0));
      if (pid == 0 || !is_meant(pid)) continue;
      const auto process = sys::pidfd_open_if_alive(pid);
      if (!process || !is_meant(pid) || sys::pidfd_wait_ended(process->get(), {})) continue;
      sys::pidfd_signal(process->get(), SIGKILL);
      ended = sys::pidfd_wait_ended(process->get(), kPatience) || ended;
    }
  }
}

void reap(int pidfd) {
  siginfo_t info = {};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED) != 0 && errno == EINTR) {
  }
}

void kill_and_reap(int pidfd) {
  sys::pidfd_signal(pidfd, SIGKILL);
  reap(pidfd);
}

void spare_when_memory_is_short() noexcept {
  ignore_errors([] { write_control_file("/proc/self/oom_score_adj", "-900"); });  // without the right to it
}

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  for (const std::string& directory : split(path ? path : "/usr/sbin:/usr/bin:/sbin:/bin", ':')) {
    const std::string candidate = directory + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

}  // namespace holm
