// Signals: sent and not delivered yet, and how they are to be delivered.
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <vector>

#include "object.h"
#include "service_thread.h"

namespace probe {
namespace {

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set = {};
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  return set;
}

void block(std::initializer_list<int> signals) {
  const sigset_t set = set_of(signals);
  must_be_zero(::pthread_sigmask(SIG_BLOCK, &set, nullptr), "pthread_sigmask");
}

// The next pending one of these.
siginfo_t take(std::initializer_list<int> signals) {
  const sigset_t set = set_of(signals);
  const timespec at_once = {};
  siginfo_t info = {};
  must(::sigtimedwait(&set, &info, &at_once), "sigtimedwait");
  return info;
}

void expect_value(const siginfo_t& info, int signal, int value) {
  expect_equal("signal", info.si_signo, signal);
  expect_equal("code of the signal", info.si_code, SI_QUEUE);
  expect_equal("value of the signal", info.si_value.sival_int, value);
  expect_equal("sender of the signal", info.si_pid, ::getpid());
}

void expect_none_pending(std::initializer_list<int> signals) {
  sigset_t pending = {};
  must(::sigpending(&pending), "sigpending");
  for (const int signal : signals)
    expect_equal(text("pending signal ", signal), ::sigismember(&pending, signal), 0);
}

// Several of one number, in their order, and one that is only counted once.
class PendingOfProcess : public Object {
 public:
  void set_up() override { block({SIGUSR1, SIGRTMIN}); }
  void change(int round) override {
    for (int i = 0; i < 3; ++i)
      must(::sigqueue(::getpid(), SIGRTMIN, {.sival_int = round * 10 + i}), "sigqueue");
    must(::kill(::getpid(), SIGUSR1), "kill");
  }
  void verify(int round) override {
    expect_equal("code of SIGUSR1", take({SIGUSR1}).si_code, SI_USER);
    for (int i = 0; i < 3; ++i) expect_value(take({SIGRTMIN}), SIGRTMIN, round * 10 + i);
    expect_none_pending({SIGUSR1, SIGRTMIN});
  }
};

// For one thread, while others of the process have it blocked, too.
class PendingOfThread : public Object {
 public:
  void set_up() override {
    block({SIGUSR2, SIGRTMIN});  // inherited by the thread
    thread_ = std::make_unique<ServiceThread>();
    thread_->ask([this] { handle_ = ::pthread_self(); });
  }
  void change(int round) override {
    for (int i = 0; i < 2; ++i)
      must_be_zero(::pthread_sigqueue(handle_, SIGRTMIN, {.sival_int = round * 10 + i}), "pthread_sigqueue");
    must_be_zero(::pthread_kill(handle_, SIGUSR2), "pthread_kill");
  }
  void verify(int round) override {
    expect_none_pending({SIGUSR2, SIGRTMIN});
    thread_->ask([round] {
      expect_equal("code of SIGUSR2", take({SIGUSR2}).si_code, SI_USER);  // glibc hides SI_TKILL
      for (int i = 0; i < 2; ++i) expect_value(take({SIGRTMIN}), SIGRTMIN, round * 10 + i);
      expect_none_pending({SIGUSR2, SIGRTMIN});
    });
  }

 private:
  pthread_t handle_ = {};
  std::unique_ptr<ServiceThread> thread_;
};

class SignalDescriptor : public Object {
 public:
  void set_up() override {
    block({SIGUSR1, SIGRTMIN + 2});
    const sigset_t set = set_of({SIGRTMIN + 2});
    descriptor_ = Fd(must(::signalfd(-1, &set, SFD_NONBLOCK), "signalfd"));
  }
  void change(int round) override {
    must(::sigqueue(::getpid(), SIGRTMIN + 2, {.sival_int = round}), "sigqueue");
    must(::kill(::getpid(), SIGUSR1), "kill");  // of which it must not tell
  }
  void verify(int round) override {
    signalfd_siginfo info = {};
    await_readable(descriptor_.get(), "signalfd");
    must(::read(descriptor_.get(), &info, sizeof info), "read");
    expect_equal("signal", info.ssi_signo, SIGRTMIN + 2);
    expect_equal("value", info.ssi_int, round);
    expect_nothing_more(descriptor_.get(), "signalfd");
    take({SIGUSR1});
  }

 private:
  Fd descriptor_;
};

// Flags and masks of handlers, ignored ones, and a handler that runs.
class Handlers : public Object {
 public:
  void set_up() override { std::signal(SIGWINCH, SIG_IGN); }
  void change(int round) override {
    struct sigaction action = {};
    action.sa_sigaction = &handle;
    action.sa_flags = flags(round);
    action.sa_mask = set_of({SIGUSR2, SIGRTMIN + round % 3});
    must(::sigaction(SIGUSR1, &action, nullptr), "sigaction");
  }
  void verify(int round) override {
    struct sigaction found = {};
    must(::sigaction(SIGUSR1, nullptr, &found), "sigaction");
    expect(found.sa_sigaction == &handle, "it is another handler");
    expect_equal("flags", found.sa_flags & (SA_SIGINFO | SA_RESTART | SA_NODEFER), flags(round));
    for (int i = 0; i < 3; ++i)
      expect_equal("mask of a handler", ::sigismember(&found.sa_mask, SIGRTMIN + i), i == round % 3);
    must(::sigaction(SIGWINCH, nullptr, &found), "sigaction");
    expect(found.sa_handler == SIG_IGN, "a signal is no longer ignored");
    must(::sigaction(SIGHUP, nullptr, &found), "sigaction");
    expect(found.sa_handler == SIG_DFL, "a signal has lost its default");
    value_ = -1;
    must(::sigqueue(::getpid(), SIGUSR1, {.sival_int = round}), "sigqueue");
    await("handler", [] { return value_ >= 0; });
    expect_equal("value of the handler", value_, round);
  }

 private:
  static int flags(int round) { return SA_SIGINFO | (round % 2 ? SA_RESTART : SA_NODEFER); }
  static void handle(int, siginfo_t* info, void*) { value_ = info->si_value.sival_int; }
  inline static volatile std::sig_atomic_t value_ = -1;
};

class AlternateStack : public Object {
 public:
  void set_up() override {
    struct sigaction action = {};
    action.sa_handler = [](int) {
      char here = 0;
      address_ = reinterpret_cast<uintptr_t>(&here);
    };
    action.sa_flags = SA_ONSTACK;
    must(::sigaction(SIGUSR1, &action, nullptr), "sigaction");
  }
  void change(int) override {
    memory_.assign(64 * 1024, 0);
    const stack_t stack = {memory_.data(), 0, memory_.size()};
    must(::sigaltstack(&stack, nullptr), "sigaltstack");
  }
  void verify(int) override {
    stack_t found = {};
    must(::sigaltstack(nullptr, &found), "sigaltstack");
    expect(found.ss_sp == memory_.data() && found.ss_size == memory_.size(), "it is another stack");
    address_ = 0;
    must(::raise(SIGUSR1), "raise");
    const auto begin = reinterpret_cast<uintptr_t>(memory_.data());
    const uintptr_t seen = address_;
    expect(seen >= begin && seen < begin + memory_.size(), "the handler did not run on it");
  }

 private:
  inline static volatile uintptr_t address_ = 0;
  std::vector<char> memory_;
};

constexpr Kind kKinds[] = {
    {"pending_signals_of_process", make<PendingOfProcess>},
    {"pending_signals_of_thread", make<PendingOfThread>},
    {"signalfd", make<SignalDescriptor>},
    {"signal_handlers", make<Handlers>},
    {"alternate_signal_stack", make<AlternateStack>},
};

}  // namespace

std::span<const Kind> signal_objects() { return kKinds; }

}  // namespace probe
