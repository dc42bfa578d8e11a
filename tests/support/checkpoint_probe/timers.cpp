// Timers: none is lost or fires twice, and what is left of each is right. Time is CLOCK_MONOTONIC, which in a
// container stands still while that is away.
#include <sys/time.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "object.h"

namespace probe {
namespace {

// CRIU reads each timer some time before it reads the clock, or a little after it, and both go on while
// processes are frozen. How much of that is too much is for the object "clocks" to say, so that one fault has
// one line.
constexpr auto kMostMore = 10s, kMostLess = 1s;
constexpr auto kLateness = 10s;
// A timer whose time comes while its process stands still to be saved has fired when that goes on, at a clock
// that shows when it came to a stand.
constexpr auto kEarliness = 1s;
constexpr auto kShort = 1500ms;
constexpr auto kPeriod = 200ms;

constexpr auto kLong(int round) { return 600s + std::chrono::seconds(round); }

timespec to_timespec(Clock::duration time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  return {seconds.count(), std::chrono::nanoseconds(time - seconds).count()};
}
timeval to_timeval(Clock::duration time) {
  const timespec spec = to_timespec(time);
  return {spec.tv_sec, spec.tv_nsec / 1000};
}
Clock::duration to_duration(const timespec& time) {
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}
Clock::duration to_duration(const timeval& time) {
  return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
}

void expect_due_at(const std::string& what, Clock::duration left, Clock::time_point due) {
  const Clock::duration expected = due - Clock::now();
  if (left < expected - kMostLess || left > expected + patient(kMostMore))
    fail(text("rest of ", what, ": expected ", expected, ", found ", left));
}

// --- timers that send a signal: the handler counts, and keeps the first time and the last

struct Fired {
  std::atomic<int> count = 0;
  std::atomic<Clock::rep> first = 0, last = 0;
  std::atomic<int> value = 0;

  void clear() { count = 0, first = 0, last = 0, value = 0; }
  void add(const siginfo_t& info) {
    last = Clock::now().time_since_epoch().count();
    if (count++ == 0) first = +last;
    value = info.si_value.sival_int;
  }
};

Fired g_fired[_NSIG];

void count_signal(int signal) {
  struct sigaction action = {};
  action.sa_sigaction = [](int number, siginfo_t* info, void*) { g_fired[number].add(*info); };
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  must(::sigaction(signal, &action, nullptr), "sigaction");
}

void expect_fired_at(const std::string& what, Clock::time_point fired, Clock::time_point due) {
  if (fired < due - patient(kEarliness)) fail(text(what, ": it fired ", due - fired, " too early"));
  if (fired > due + patient(kLateness)) fail(text(what, ": it fired ", fired - due, " too late"));
}

// One that fires once, soon: before, while or after it is saved.
void expect_fired_once(const std::string& what, int signal, Clock::time_point due) {
  const Fired& fired = g_fired[signal];
  if (Clock::now() < due + patient(kLateness)) await(what, [&] { return fired.count > 0; });
  expect_equal(what + ": times that it fired", +fired.count, 1);
  expect_fired_at(what, Clock::time_point(Clock::duration(+fired.first)), due);
}

// What was missed while it was frozen comes as one signal.
void expect_periodic(const std::string& what, int signal, Clock::time_point begin) {
  const Fired& fired = g_fired[signal];
  const auto most = (Clock::now() - begin) / kPeriod + 1;
  expect(fired.count <= most, text(what, ": fired ", +fired.count, " times, expected at most ", most));
  const int before = fired.count;
  await(what, [&] { return fired.count >= before + 3; });
}

class IntervalTimers : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    begin_ = Clock::now();
    for (const Timer& timer : kTimers) {
      const itimerval value = {to_timeval(timer.interval), to_timeval(kLong(round))};
      must(::setitimer(timer.which, &value, nullptr), "setitimer");
    }
  }
  void verify(int round) override {
    for (const Timer& timer : kTimers) {
      itimerval found = {};
      must(::getitimer(timer.which, &found), "getitimer");
      expect(to_duration(found.it_interval) == timer.interval, text(timer.name, ": it has another interval"));
      if (timer.which == ITIMER_REAL) {
        expect_due_at(timer.name, to_duration(found.it_value), begin_ + kLong(round));
      } else {  // these count processor time, of which there was little
        const Clock::duration left = to_duration(found.it_value);
        expect(left < kLong(round) + 100ms && left > kLong(round) - 5s,
               text("rest of ", timer.name, ": found ", left));
      }
    }
  }

 private:
  struct Timer {
    const char* name;
    decltype(ITIMER_REAL) which;
    Clock::duration interval;
  };
  static constexpr Timer kTimers[] = {{"ITIMER_REAL", ITIMER_REAL, 7s},
                                      {"ITIMER_VIRTUAL", ITIMER_VIRTUAL, 8s},
                                      {"ITIMER_PROF", ITIMER_PROF, 0s}};
  Clock::time_point begin_;
};

class PeriodicIntervalTimer : public Object {
 public:
  void set_up() override { count_signal(SIGALRM); }
  void change(int) override {
    begin_ = Clock::now();
    g_fired[SIGALRM].clear();
    const itimerval value = {to_timeval(kPeriod), to_timeval(kPeriod)};
    must(::setitimer(ITIMER_REAL, &value, nullptr), "setitimer");
  }
  void verify(int) override { expect_periodic("timer", SIGALRM, begin_); }

 private:
  Clock::time_point begin_;
};

class Alarm : public Object {
 public:
  void set_up() override { count_signal(SIGALRM); }
  void change(int round) override {
    begin_ = Clock::now();
    g_fired[SIGALRM].clear();
    ::alarm(is_short(round) ? 2 : 600);
  }
  void verify(int round) override {
    if (is_short(round)) return expect_fired_once("alarm", SIGALRM, begin_ + 2s);
    expect_due_at("alarm", std::chrono::seconds(::alarm(0)), begin_ + 600s);
    expect_equal("times that it fired", +g_fired[SIGALRM].count, 0);
  }

 private:
  static bool is_short(int round) { return round % 2 == 1; }
  Clock::time_point begin_;
};

class PosixTimers : public Object {
 public:
  void set_up() override {
    for (int i = 0; i < kCount; ++i) {
      count_signal(signal(i));
      sigevent event = {};
      event.sigev_notify = SIGEV_SIGNAL;
      event.sigev_signo = signal(i);
      event.sigev_value.sival_int = 70 + i;
      must(::timer_create(i == kLongBoot ? CLOCK_BOOTTIME : CLOCK_MONOTONIC, &event, &timers_[i]),
           "timer_create");
    }
  }
  void change(int round) override {
    begin_ = Clock::now();
    for (int i = 0; i < kCount; ++i) g_fired[signal(i)].clear();
    set(kLongOne, kLong(round), 9s);
    set(kLongBoot, kLong(round), 0s);
    set(kShortOne, kShort, 0s);
    set(kPeriodic, kPeriod, kPeriod);
  }
  void verify(int round) override {
    for (const int i : {kLongOne, kLongBoot}) {
      itimerspec found = {};
      must(::timer_gettime(timers_[i], &found), "timer_gettime");
      expect_due_at(text("timer ", i), to_duration(found.it_value), begin_ + kLong(round));
      expect_equal(text("interval of timer ", i), found.it_interval.tv_sec, i == kLongOne ? 9 : 0);
      expect_equal(text("times that timer ", i, " fired"), +g_fired[signal(i)].count, 0);
    }
    expect_fired_once("short timer", signal(kShortOne), begin_ + kShort);
    expect_periodic("periodic timer", signal(kPeriodic), begin_);
    for (const int i : {kShortOne, kPeriodic}) expect_equal("value", +g_fired[signal(i)].value, 70 + i);
  }

 private:
  enum { kLongOne, kLongBoot, kShortOne, kPeriodic, kCount };

  static int signal(int timer) { return SIGRTMIN + timer; }
  void set(int timer, Clock::duration value, Clock::duration interval) {
    const itimerspec spec = {to_timespec(interval), to_timespec(value)};
    must(::timer_settime(timers_[timer], 0, &spec, nullptr), "timer_settime");
  }
  timer_t timers_[kCount] = {};
  Clock::time_point begin_;
};

// --- timers that are read

enum class Given { from_now, as_time };

Fd make_timer_descriptor() {
  return Fd(must(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd_create"));
}

void set_timer(const Fd& timer, Clock::duration value, Clock::duration interval, Given given) {
  const auto first = given == Given::as_time ? Clock::now().time_since_epoch() + value : value;
  const itimerspec spec = {to_timespec(interval), to_timespec(first)};
  must(::timerfd_settime(timer.get(), given == Given::as_time ? TFD_TIMER_ABSTIME : 0, &spec, nullptr),
       "timerfd_settime");
}

// Times that it fired since it was read last; none is 0.
uint64_t read_timer(const Fd& timer) {
  uint64_t count = 0;
  if (::read(timer.get(), &count, sizeof count) < 0 && errno != EAGAIN) fail_call("read of a timer");
  return count;
}

class PeriodicTimerDescriptor : public Object {
 public:
  void set_up() override { timer_ = make_timer_descriptor(); }
  void change(int) override {
    begin_ = Clock::now();
    set_timer(timer_, kPeriod, kPeriod, Given::from_now);
    sleep_for(2 * kPeriod);  // so that there is something unread
  }
  void verify(int) override {
    const auto expected = static_cast<int64_t>((Clock::now() - begin_) / kPeriod);
    const auto found = static_cast<int64_t>(read_timer(timer_));
    await_readable(timer_.get(), "timer, after it was read");
    expect(found <= expected + 1 && found >= expected - 1 - patient(kLateness) / kPeriod,
           text("times that it fired: expected about ", expected, ", found ", found));
  }

 private:
  Fd timer_;
  Clock::time_point begin_;
};

template <Given given>
class TimerDescriptors : public Object {
 public:
  void set_up() override {
    for (Fd* timer : {&long_, &short_, &fired_}) *timer = make_timer_descriptor();
  }
  void change(int round) override {
    set_timer(fired_, 1ms, 0s, given);
    await_readable(fired_.get(), "timer");
    begin_ = Clock::now();
    set_timer(long_, kLong(round), 0s, given);
    set_timer(short_, kShort, 0s, given);
  }
  void verify(int round) override {
    itimerspec found = {};
    must(::timerfd_gettime(long_.get(), &found), "timerfd_gettime");
    expect_due_at("the long timer", to_duration(found.it_value), begin_ + kLong(round));
    expect_equal("times that the long timer fired", read_timer(long_), 0U);
    expect_equal("times that a timer fired that nobody had read", read_timer(fired_), 1U);
    verify_short();
  }

 private:
  void verify_short() {
    const bool can_see_when = !is_readable(short_.get());
    await_readable(short_.get(), "short timer");
    const auto now = Clock::now();
    expect_equal("times that the short timer fired", read_timer(short_), 1U);
    expect(now > begin_ + kShort - patient(kEarliness),
           text("the short timer fired ", begin_ + kShort - now, " too early"));
    if (can_see_when) expect_fired_at("short timer", now, begin_ + kShort);
  }

  Fd long_, short_, fired_;
  Clock::time_point begin_;
};

constexpr Kind kKinds[] = {
    {"interval_timers", make<IntervalTimers>},
    {"interval_timer_periodic", make<PeriodicIntervalTimer>},
    {"alarm", make<Alarm>},
    {"posix_timers", make<PosixTimers>},
    {"timerfd_periodic", make<PeriodicTimerDescriptor>},
    {"timerfd", make<TimerDescriptors<Given::from_now>>},
    {"timerfd_absolute", make<TimerDescriptors<Given::as_time>>},
};

}  // namespace

std::span<const Kind> timer_objects() { return kKinds; }

}  // namespace probe
