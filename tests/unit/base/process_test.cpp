// Processes by their descriptors.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"

using namespace holm;

TEST_CASE("a process that has ended is gone, though the session that it led is not") {
  const pid_t leader = ::fork();
  if (leader == 0) {
    ::setsid();
    if (::fork() == 0) ::pause();
    ::_exit(0);
  }
  ::waitpid(leader, nullptr, 0);
  // The leader's number is that of a session now, in which a process waits.
  CHECK_FALSE(sys::pidfd_open_if_alive(leader));
  ::kill(-leader, SIGKILL);
  CHECK(sys::pidfd_open_if_alive(::getpid()));
}
