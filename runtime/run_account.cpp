#include "runtime/run_account.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "base/error.h"
#include "base/sys.h"
#include "runtime/account.h"
#include "runtime/account_reader.h"

namespace holm::runtime {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Nothing is lost by waiting: a new run is counted from its begin, whenever that is first looked at.
constexpr milliseconds kFirstSampleAfter(2000);
// Less than the ledger waits for another writer: a stop need not wait, as the sample can be kept.
constexpr milliseconds kLastSamplePatience(3000);
// A disk that hangs must not keep the monitor from its container.
constexpr milliseconds kDeathPatience(2000);
// The child's only descriptor beside the streams.
constexpr int kWrittenFd = 3;

// Whether this child has ended; then nothing is left of it. `options`: of waitid(2).
bool reap(const UniqueFd& child, int options) {
  siginfo_t info = {};
  int failed = 0;
  while ((failed = ::waitid(P_PIDFD, static_cast<id_t>(child.get()), &info, WEXITED | options)) != 0 &&
         errno == EINTR) {
  }
  return failed == 0 && info.si_pid != 0;
}

}  // namespace

RunAccount::RunAccount(Paths paths, std::string name, Durability durability, Log log)
    : paths_(std::move(paths)), name_(std::move(name)), durability_(durability), log_(std::move(log)) {}

// A child that only waits for the disk does so without us.
RunAccount::~RunAccount() {
  if (sampler_ && !has_written_) kill_sampler();
}

void RunAccount::begin(pid_t init) {
  ended_ns_.reset();
  due_ = Clock::now() + kFirstSampleAfter;
  ignore_errors([&] {  // it may have ended already: its links are gone then
    network_namespace_ = sys::open(fmt::format("/proc/{}/ns/net", init), O_RDONLY);
  });
}

void RunAccount::serve() {
  std::erase_if(hanging_, [](const UniqueFd& sampler) { return reap(sampler, WNOHANG); });
  if (sampler_ && sys::pidfd_wait_ended(sampler_.get(), milliseconds(0))) reap_sampler();
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
  try {
    bool is_written = false;
    try {
      if (sampler_) kill_sampler();
      start_sampler();
      is_written = await_written(kLastSamplePatience);
      if (!is_written) kill_sampler();
    } catch (const Error& error) {
      log_(error.report());
    }
    if (!is_written)
      keep_last_sample(paths_, name_, ended_ns_, hanging_.empty() ? LedgerDisk::answers : LedgerDisk::hangs);
  } catch (const std::exception& failure) {
    ignore_errors([&] { log_(fmt::format("usage since the last sample is lost: {}", failure.what())); });
  }
  network_namespace_.reset();
}

void RunAccount::start_sampler() {
  sys::Pipe pipe = sys::pipe();
  const pid_t monitor = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw Error::system("make a process that writes the ledger");
  if (child > 0) {
    sampler_ = sys::pidfd_open(child);
    written_ = std::move(pipe.read_end);
    has_written_ = false;
    return;
  }
  ::setsid();  // the monitor's session ends with it
  // Of the monitor's descriptors it keeps the log and the pipe; it does not outlive the monitor.
  if (::dup2(pipe.write_end.release(), kWrittenFd) < 0) ::_exit(1);
  sys::close_range(kWrittenFd + 1);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != monitor) ::_exit(1);
  ::prctl(PR_SET_NAME, "holm-sampler");
  run_sampler();
}

void RunAccount::run_sampler() {
  try {
    const AccountReport report = sample_accounts(paths_, {name_}, Durability::until_reboot, ended_ns_);
    for (const auto* lines : {&report.notes, &report.warnings})
      for (const std::string& line : *lines) log_(line);
    if (report.counted == 0) ::_exit(1);  // it could not be read, which the monitor tries again
    // The waiting for the disk is not the monitor's, which may go on now, and end.
    ::prctl(PR_SET_PDEATHSIG, 0);
    sys::write_all(kWrittenFd, "w", "the monitor's pipe");
    quotas::tidy_ledger(paths_.ledger(), durability_);
  } catch (const Error& error) {
    log_(error.report());
    ::_exit(1);
  } catch (const std::exception& failure) {
    log_(failure.what());
    ::_exit(1);
  }
  ::_exit(0);
}

bool RunAccount::await_written(milliseconds patience) {
  const auto end = Clock::now() + patience;
  pollfd wanted = {written_.get(), POLLIN, 0};
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
    if (left.count() <= 0) return false;
    const int ready = ::poll(&wanted, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno != EINTR) throw Error::system("wait for the ledger");
    if (ready > 0) break;
  }
  char word = 0;
  has_written_ = ::read(written_.get(), &word, 1) == 1;  // else it ended without a word
  return has_written_;
}

// One that is killed has written all or nothing. One that hangs in its disk dies when the disk is back, and
// counts nothing then: nobody waits for it.
void RunAccount::kill_sampler() {
  sys::pidfd_signal(sampler_.get(), SIGKILL);
  if (sys::pidfd_wait_ended(sampler_.get(), kDeathPatience)) return reap_sampler();
  log_("the ledger's disk does not answer");
  hanging_.push_back(std::move(sampler_));
  written_.reset();
}

void RunAccount::reap_sampler() {
  reap(sampler_, 0);
  sampler_.reset();
  written_.reset();
}

}  // namespace holm::runtime
