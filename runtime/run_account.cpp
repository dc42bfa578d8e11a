#include "runtime/run_account.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/error.h"
#include "base/sys.h"
#include "runtime/account.h"

namespace holm::runtime {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Nothing is lost by waiting: a new run is counted from its begin, whenever that is first looked at.
constexpr milliseconds kFirstSampleAfter(2000);
// Longer than the ledger waits for another writer, shorter than a stop waits for the monitor.
constexpr milliseconds kLastSamplePatience(8000);

}  // namespace

RunAccount::RunAccount(Paths paths, std::string name, Durability durability, Log log)
    : paths_(std::move(paths)), name_(std::move(name)), durability_(durability), log_(std::move(log)) {}

RunAccount::~RunAccount() { end_sampler(milliseconds(0)); }

void RunAccount::begin(pid_t init) {
  ended_ns_.reset();
  due_ = Clock::now() + kFirstSampleAfter;
  ignore_errors([&] {  // it may have ended already: its links are gone then
    network_namespace_ = sys::open(fmt::format("/proc/{}/ns/net", init), O_RDONLY);
  });
}

void RunAccount::serve() {
  if (sampler_ && sys::pidfd_wait_ended(sampler_.get(), milliseconds(0))) end_sampler(milliseconds(0));
  if (!due_ || sampler_ || Clock::now() < *due_) return;
  due_.reset();
  try {
    start_sampler();
  } catch (const Error& error) {
    log_(error.report());
  }
}

void RunAccount::note_end() { ended_ns_ = boottime_now_ns(); }

void RunAccount::finish() noexcept {
  due_.reset();
  end_sampler(milliseconds(0));
  try {
    start_sampler();
    end_sampler(kLastSamplePatience);
    if (sampler_failed_) keep_last_sample(paths_, name_, ended_ns_);
  } catch (const std::exception& failure) {
    ignore_errors([&] { log_(fmt::format("usage since the last sample is lost: {}", failure.what())); });
  }
  network_namespace_.reset();
}

// The child has no descriptor of the monitor's but its log, and does not outlive it.
void RunAccount::start_sampler() {
  const pid_t monitor = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw Error::system("make a process that writes the ledger");
  if (child > 0) {
    sampler_ = sys::pidfd_open(child);
    return;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != monitor) ::_exit(1);
  ::prctl(PR_SET_NAME, "holm-sampler");
  sys::close_range(3);
  int status = 0;
  try {
    const AccountReport report = sample_accounts(paths_, {name_}, durability_, ended_ns_);
    for (const auto* lines : {&report.notes, &report.warnings})
      for (const std::string& line : *lines) log_(line);
  } catch (const Error& error) {
    log_(error.report());
    status = 1;
  } catch (const std::exception& failure) {
    log_(failure.what());
    status = 1;
  }
  ::_exit(status);
}

// One that is killed has written all or nothing.
void RunAccount::end_sampler(milliseconds patience) {
  if (!sampler_) return;
  if (!sys::pidfd_wait_ended(sampler_.get(), patience)) sys::pidfd_signal(sampler_.get(), SIGKILL);
  siginfo_t info = {};
  while (::waitid(P_PIDFD, static_cast<id_t>(sampler_.get()), &info, WEXITED) != 0 && errno == EINTR) {
  }
  sampler_failed_ = info.si_code != CLD_EXITED || info.si_status != 0;
  sampler_.reset();
}

}  // namespace holm::runtime
