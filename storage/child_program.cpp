#include "storage/child_program.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/error.h"
#include "base/sys.h"

namespace holm::storage {
namespace {

constexpr int kExitNotStarted = 127;

// All that the child needs, prepared before it exists: between fork and exec it only makes system calls.
struct Prepared {
  std::vector<char*> arguments;
  std::vector<char*> environment;
  int input;
  int output;
  int errors;
  int extra;
};

// Runs in: the new child. Dies with the parent; where the parent died before this, nobody reads our output
// any more.
void die_with_parent(int output) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  pollfd reader = {output, 0, 0};
  if (::poll(&reader, 1, 0) > 0 && (reader.revents & POLLERR)) ::_exit(kExitNotStarted);
}

// Runs in: the new child (pid 2 of its own namespaces, if it has such). Signals as a fresh process has them.
[[noreturn]] void execute(const Prepared& prepared) {
  sys::reset_inherited();
  // Above the numbers that are about to be overwritten.
  const int input = ::fcntl(prepared.input, F_DUPFD, 10);
  const int output = ::fcntl(prepared.output, F_DUPFD, 10);
  const int errors = ::fcntl(prepared.errors, F_DUPFD, 10);
  const int extra = prepared.extra < 0 ? -1 : ::fcntl(prepared.extra, F_DUPFD, 10);
  if (::dup2(input, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(errors, 2) < 0) ::_exit(kExitNotStarted);
  if (extra >= 0 && ::dup2(extra, 3) < 0) ::_exit(kExitNotStarted);
  ::syscall(SYS_close_range, extra >= 0 ? 4U : 3U, ~0U, 0U);
  ::execve(prepared.arguments[0], prepared.arguments.data(), prepared.environment.data());
  ::_exit(kExitNotStarted);
}

// Runs in: pid 1 of new pid and mount namespaces. Reaps what is orphaned; its end kills all that is left.
[[noreturn]] void execute_as_init(const Prepared& prepared) {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(kExitNotStarted);
  if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    ::_exit(kExitNotStarted);
  const pid_t program = ::fork();
  if (program == 0) execute(prepared);
  if (program < 0) ::_exit(kExitNotStarted);
  for (;;) {
    int status = 0;
    const pid_t ended = ::wait(&status);
    if (ended == program) ::_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    if (ended < 0 && errno != EINTR) ::_exit(kExitNotStarted);
  }
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) throw Error::system("wait for a program");
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

pid_t start(const ChildProgram& program, const Prepared& prepared) {
  const bool own = program.namespaces == ChildNamespaces::own_pids_and_mounts;
  const unsigned long flags = SIGCHLD | (own ? CLONE_NEWPID | CLONE_NEWNS : 0U);
  const long pid = ::syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr);
  if (pid < 0) throw Error::system(fmt::format("start '{}'", program.command.front()));
  if (pid > 0) return static_cast<pid_t>(pid);
  die_with_parent(prepared.output);
  if (own) execute_as_init(prepared);
  execute(prepared);
}

}  // namespace

int run_child_program(const ChildProgram& program,
                      const std::function<void(std::string_view chunk)>& on_output) {
  if (::access(program.command.front().c_str(), X_OK) != 0)
    throw Error::system(fmt::format("run '{}'", program.command.front()));
  auto [read_end, write_end] = sys::pipe();
  const UniqueFd null = sys::open("/dev/null", O_RDWR);
  const Prepared prepared = {pointers(program.command),
                             pointers(program.environment),
                             program.input >= 0 ? program.input : null.get(),
                             write_end.get(),
                             program.errors == ChildErrors::with_output ? write_end.get() : null.get(),
                             program.extra};
  const pid_t pid = start(program, prepared);
  write_end.reset();
  char buffer[16384];
  for (;;) {
    const ssize_t size = ::read(read_end.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    on_output(std::string_view(buffer, static_cast<size_t>(size)));
  }
  return wait_for(pid);
}

}  // namespace holm::storage
