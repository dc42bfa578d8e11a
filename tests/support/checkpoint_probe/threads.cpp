// Threads: what each has of its own, and what they wait in.
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <ctime>
#include <mutex>
#include <thread>
#include <vector>

#include "object.h"
#include "partner.h"
#include "service_thread.h"

namespace probe {

// --- ServiceThread

struct ServiceThread::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::function<void()> action;
  bool is_busy = false, is_over = false;
  std::string failure;
  std::atomic<int> id = 0;
};

ServiceThread::ServiceThread() : state_(std::make_shared<State>()) {
  std::thread([state = state_] {
    state->id = ::gettid();
    std::unique_lock lock(state->mutex);
    for (;;) {
      state->changed.wait(lock, [&] { return state->action || state->is_over; });
      if (state->is_over) return;
      lock.unlock();
      std::string failure;
      try {
        state->action();
      } catch (const std::exception& error) {
        failure = error.what();
      }
      lock.lock();
      state->failure = failure;
      state->action = nullptr;
      state->is_busy = false;
      state->changed.notify_all();
    }
  }).detach();
  await("new thread", [&] { return state_->id != 0; });
}

ServiceThread::~ServiceThread() {
  const std::lock_guard lock(state_->mutex);
  state_->is_over = true;
  state_->changed.notify_all();
}

void ServiceThread::begin(std::function<void()> action) {
  const std::lock_guard lock(state_->mutex);
  expect(!state_->is_busy, "the thread is still busy");
  state_->action = std::move(action);
  state_->is_busy = true;
  state_->changed.notify_all();
}

void ServiceThread::finish() {
  std::unique_lock lock(state_->mutex);
  if (!state_->changed.wait_for(lock, patient(kPatience), [&] { return !state_->is_busy; }))
    fail(text("the thread: not within ", patient(kPatience)));
  if (!state_->failure.empty()) fail(std::exchange(state_->failure, ""));
}

void ServiceThread::ask(std::function<void()> action) {
  begin(std::move(action));
  finish();
}

bool ServiceThread::is_busy() const {
  const std::lock_guard lock(state_->mutex);
  return state_->is_busy;
}

int ServiceThread::id() const { return state_->id; }

char thread_state(int thread) { return status_field(text("self/task/", thread), "State").front(); }

namespace {

// --- what each has of its own

thread_local int t_round = -1;

class Threads : public Object {
 public:
  void set_up() override {
    for (int i = 0; i < 4; ++i) threads_.push_back(std::make_unique<ServiceThread>());
  }
  void change(int round) override {
    for (size_t i = 0; i < threads_.size(); ++i) {
      const int number = round + static_cast<int>(i);
      threads_[i]->ask([number] {
        t_round = number;
        must(::prctl(PR_SET_NAME, name(number).c_str()), "prctl");
        const sigset_t mask = blocked(number);
        must_be_zero(::pthread_sigmask(SIG_SETMASK, &mask, nullptr), "pthread_sigmask");
      });
    }
  }
  void verify(int round) override {
    for (size_t i = 0; i < threads_.size(); ++i) {
      const int number = round + static_cast<int>(i);
      const int id = threads_[i]->id();
      expect_equal("name", read_file(text("/proc/self/task/", id, "/comm")), name(number) + "\n");
      threads_[i]->ask([number, id] {
        expect_equal("id of a thread", ::gettid(), id);
        expect_equal("thread-local variable", t_round, number);
        sigset_t found = {};
        must_be_zero(::pthread_sigmask(SIG_SETMASK, nullptr, &found), "pthread_sigmask");
        for (const int signal : kSignals)
          expect_equal(text("blocked signal ", signal), ::sigismember(&found, signal),
                       is_blocked(signal, number));
      });
    }
  }

 private:
  static constexpr int kSignals[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH, SIGURG};

  static std::string name(int number) { return text("thread-", number); }
  static bool is_blocked(int signal, int number) { return (signal + number) % 3 == 0; }
  static sigset_t blocked(int number) {
    sigset_t set = {};
    ::sigemptyset(&set);
    for (const int signal : kSignals)
      if (is_blocked(signal, number)) ::sigaddset(&set, signal);
    return set;
  }

  std::vector<std::unique_ptr<ServiceThread>> threads_;
};

// --- waits

// In a condition variable, and in a plain futex.
class FutexWait : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    is_woken_ = false;
    word_ = round;
    in_condition_.begin([this] {
      std::unique_lock lock(mutex_);
      condition_.wait(lock, [this] { return is_woken_; });
    });
    in_futex_.begin([this, round] {
      while (word_ == round)
        if (futex(FUTEX_WAIT_PRIVATE, round) != 0 && errno != EAGAIN && errno != EINTR) fail_call("futex");
    });
    for (const ServiceThread* thread : {&in_condition_, &in_futex_})
      await("sleep of a thread", [thread] { return thread_state(thread->id()) == 'S'; });
  }
  void verify(int round) override {
    expect(in_condition_.is_busy() && in_futex_.is_busy(), "a thread does not wait any more");
    {
      const std::lock_guard lock(mutex_);
      is_woken_ = true;
    }
    condition_.notify_all();
    word_ = round + 1;
    futex(FUTEX_WAKE_PRIVATE, 1);
    in_condition_.finish();
    in_futex_.finish();
  }

 private:
  long futex(int operation, int value) {
    return ::syscall(SYS_futex, &word_, operation, value, nullptr, nullptr, 0);
  }

  std::mutex mutex_;
  std::condition_variable condition_;
  bool is_woken_ = false;
  std::atomic<int> word_ = 0;
  ServiceThread in_condition_, in_futex_;
};

enum class Interruption { is_taken, is_fault };

// A thread that sleeps for an hour. CRIU cannot restore what the kernel keeps of a relative sleep: it returns
// EINTR with the time that was left, as if a handler had run. Most programs sleep on then.
template <Interruption interruption>
class Sleep : public Object {
 public:
  void set_up() override {
    until_ = Clock::now() + 1h;
    thread_.begin([this] {
      timespec left = {3600, 0};
      while (::nanosleep(&left, &left) != 0) {
        ++interrupted_;
        const auto rest = std::chrono::seconds(left.tv_sec) + std::chrono::nanoseconds(left.tv_nsec);
        const auto expected = until_ - Clock::now();
        if (rest < expected - 1s || rest > expected + patient(kMostFrozen))
          fail(text("rest of the sleep: expected ", expected, ", found ", rest));
        until_ = Clock::now() + rest;
      }
      fail("the sleep is over");
    });
  }
  void change(int) override {
    await("sleep", [this] { return thread_state(thread_.id()) == 'S'; });
    interrupted_ = 0;
  }
  void verify(int) override {
    if (!thread_.is_busy()) thread_.finish();
    if (interruption == Interruption::is_fault)
      expect_equal("times that the sleep ended with EINTR", +interrupted_, 0);
    expect_equal("state", thread_state(thread_.id()), 'S');
  }

 private:
  // The clock goes on while it is frozen, the sleep does not. What is too much for the clock is not for us to
  // say.
  static constexpr auto kMostFrozen = 10s;
  Clock::time_point until_;
  std::atomic<int> interrupted_ = 0;
  ServiceThread thread_;
};

// Until a point in time: this is restarted.
class SleepUntil : public Object {
 public:
  void set_up() override {
    thread_.begin([] {
      timespec until = {};
      ::clock_gettime(CLOCK_MONOTONIC, &until);
      until.tv_sec += 3600;
      must_be_zero(::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr), "clock_nanosleep");
      fail("the sleep is over");
    });
  }
  void change(int) override {
    await("sleep", [this] { return thread_state(thread_.id()) == 'S'; });
  }
  void verify(int) override {
    if (!thread_.is_busy()) thread_.finish();
    expect_equal("state", thread_state(thread_.id()), 'S');
  }

 private:
  ServiceThread thread_;
};

// --- a mutex between processes, held by one that dies with it

class RobustMutex : public Object {
 public:
  void set_up() override {
    mutex_ = static_cast<pthread_mutex_t*>(
        must(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), "mmap"));
    pthread_mutexattr_t attributes = {};
    must_be_zero(::pthread_mutexattr_init(&attributes), "pthread_mutexattr_init");
    must_be_zero(::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED), "share a mutex");
    must_be_zero(::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), "make a mutex robust");
    must_be_zero(::pthread_mutex_init(mutex_, &attributes), "pthread_mutex_init");
  }
  void change(int) override {
    holder_ = std::make_unique<Partner>(
        Inherits::descriptors, [this](int) { must_be_zero(::pthread_mutex_lock(mutex_), "lock the mutex"); });
    holder_->ask(0);
  }
  void verify(int) override {
    expect_equal("trying the mutex that another process holds", ::pthread_mutex_trylock(mutex_), EBUSY);
    holder_->kill(SIGKILL);
    holder_->wait_status();
    timespec deadline = {};
    ::clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 5;
    expect_equal("taking it from the dead", ::pthread_mutex_timedlock(mutex_, &deadline), EOWNERDEAD);
    must_be_zero(::pthread_mutex_consistent(mutex_), "pthread_mutex_consistent");
    must_be_zero(::pthread_mutex_unlock(mutex_), "pthread_mutex_unlock");
  }

 private:
  pthread_mutex_t* mutex_ = nullptr;
  std::unique_ptr<Partner> holder_;
};

constexpr Kind kKinds[] = {
    {"threads", make<Threads>},
    {"futex_wait", make<FutexWait>},
    {"sleep", make<Sleep<Interruption::is_taken>>},
    {"sleep_without_interruption", make<Sleep<Interruption::is_fault>>},
    {"sleep_until", make<SleepUntil>},
    {"robust_mutex", make<RobustMutex>},
};

}  // namespace

std::span<const Kind> thread_objects() { return kKinds; }

}  // namespace probe
