#include "runtime/dump_guard.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "base/error.h"
#include "base/process.h"
#include "base/sys.h"
#include "runtime/dump_moment.h"
#include "runtime/settle.h"

namespace holm::runtime {
namespace {

constexpr int kAlive = 3;

// What can be said to nobody goes to nobody: the next command meets the same, and says it.
[[noreturn]] void guard(const Installation& installation, const std::string& name, UniqueFd alive) {
  ignore_errors([&] {
    sys::reset_inherited();
    ::setsid();
    ::prctl(PR_SET_NAME, "holm-guard");
    const UniqueFd null = sys::open("/dev/null", O_RDWR);
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null.get(), stream);
    ::dup2(alive.release(), kAlive);
    sys::close_range(kAlive + 1);
    spare_when_memory_is_short();  // as CRIU is
    if (::chdir("/") != 0) ::_exit(1);
    char byte = 0;
    while (::read(kAlive, &byte, 1) < 0 && errno == EINTR) {
    }
    const auto follow = [&](const std::stop_token& stop) {
      ignore_errors([&] { let_run_while_memory_is_saved(installation, name, stop); });  // it runs later, then
    };
    std::jthread follower;
    ignore_errors([&] { follower = std::jthread(follow); });  // as above
    // CRIU takes its time to undo what it has done.
    for (int tries = 0; tries < 20; ++tries)
      ignore_errors([&] {
        const FileLock lock = lock_container(installation.paths, name);
        settle(installation, name);
        ::_exit(0);
      });
  });
  ::_exit(1);
}

}  // namespace

DumpGuard::DumpGuard(const Installation& installation, const std::string& name) {
  sys::Pipe pipe = sys::pipe();
  const pid_t child = ::fork();
  if (child < 0) throw Error::system("make a process that guards the container");
  if (child == 0) {
    pipe.write_end.reset();
    guard(installation, name, std::move(pipe.read_end));
  }
  alive_ = std::move(pipe.write_end);
  process_ = sys::pidfd_open(child);
}

DumpGuard::~DumpGuard() { kill_and_reap(process_.get()); }

}  // namespace holm::runtime
