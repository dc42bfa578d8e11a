// Clocks: they go on where they stood, and never go back.
#include <ctime>
#include <mutex>

#include "object.h"
#include "service_thread.h"

namespace probe {
namespace {

class ClockSamples : public Object {
 public:
  void set_up() override {
    thread_.begin([this] { sample_for_ever(); });
  }
  void change(int) override {
    const std::lock_guard lock(mutex_);
    for (Sampled& clock : clocks_) clock.largest_gap = clock.largest_step_back = 0ns;
  }
  void verify(int) override {
    sleep_for(50ms);
    const std::lock_guard lock(mutex_);
    expect(clocks_[0].count > seen_, "no more samples are taken");
    seen_ = clocks_[0].count;
    for (const Sampled& clock : clocks_) {
      if (clock.largest_step_back > 0ns) fail(text(clock.name, " went back by ", clock.largest_step_back));
      if (clock.largest_gap > patient(kMaxGap)) fail(text(clock.name, " jumped by ", clock.largest_gap));
    }
    note_ = text("largest gap ", std::max(clocks_[0].largest_gap, clocks_[1].largest_gap));
  }
  std::string note() const override { return note_; }

 private:
  static constexpr auto kEach = 20ms;
  static constexpr auto kMaxGap = 3s;

  struct Sampled {
    const char* name;
    clockid_t id;
    std::chrono::nanoseconds last = 0ns, largest_gap = 0ns, largest_step_back = 0ns;
    int64_t count = 0;

    void sample() {
      timespec time = {};
      must(::clock_gettime(id, &time), "clock_gettime");
      const auto now = std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
      if (count++ > 0) {
        largest_gap = std::max(largest_gap, now - last);
        largest_step_back = std::max(largest_step_back, last - now);
      }
      last = now;
    }
  };

  [[noreturn]] void sample_for_ever() {
    for (;;) {
      {
        const std::lock_guard lock(mutex_);
        for (Sampled& clock : clocks_) clock.sample();
      }
      sleep_for(kEach);
    }
  }

  std::mutex mutex_;
  Sampled clocks_[2] = {{"CLOCK_MONOTONIC", CLOCK_MONOTONIC}, {"CLOCK_BOOTTIME", CLOCK_BOOTTIME}};
  int64_t seen_ = 0;
  std::string note_;
  ServiceThread thread_;
};

constexpr Kind kKinds[] = {{"clocks", make<ClockSamples>}};

}  // namespace

std::span<const Kind> clock_objects() { return kKinds; }

}  // namespace probe
