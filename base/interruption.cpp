#include "base/interruption.h"

#include <fmt/core.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstring>

#include "base/error.h"
#include "base/unique_fd.h"

namespace holm {
namespace {

// Signals are a process's, and so is what is known of them.
struct {
  int depth = 0;
  UniqueFd fd;
  int came = 0;  // the signal's number
} shared;

}  // namespace

Interruption::Interruption() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals, &before_);
  if (shared.depth++ > 0) return;
  shared.fd.reset(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!shared.fd) throw Error::system("watch for signals");
}

Interruption::~Interruption() {
  if (--shared.depth == 0) shared.fd.reset();
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

int Interruption::fd() { return shared.fd.get(); }

bool Interruption::has_come() {
  signalfd_siginfo info = {};
  if (shared.came == 0 && shared.fd && ::read(shared.fd.get(), &info, sizeof info) == sizeof info)
    shared.came = static_cast<int>(info.ssi_signo);
  return shared.came != 0;
}

void Interruption::check() {
  if (shared.fd && has_come()) throw Error(fmt::format("interrupted by SIG{}", ::sigabbrev_np(shared.came)));
}

}  // namespace holm
