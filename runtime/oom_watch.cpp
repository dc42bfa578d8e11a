#include "runtime/oom_watch.h"

#include <unistd.h>

#include "base/error.h"

namespace holm::runtime {

using namespace std::chrono_literals;

OomWatch::OomWatch(const quotas::Cgroup& cgroup)
    : cgroup_(cgroup), event_(cgroup.watch_oom()), told_(cgroup.usage().oom_kills) {}

pollfd OomWatch::wanted() const { return {event_ ? event_.get() : -1, cgroup_.oom_poll_events(), 0}; }

std::optional<OomWatch::Clock::time_point> OomWatch::look_at() const {
  const auto now = Clock::now();
  return now < look_until_ ? std::optional(now + 20ms) : std::nullopt;
}

std::vector<quotas::OomKill> OomWatch::take(bool ready) {
  if (ready) {
    char buffer[4096];
    if (::pread(event_.get(), buffer, sizeof buffer, 0) < 0 &&
        ::read(event_.get(), buffer, sizeof buffer) < 0)
      event_.reset();  // the group is gone
    look_until_ = Clock::now() + 1s;
  }
  if (Clock::now() >= look_until_) return {};
  uint64_t kills = told_;
  ignore_errors([&] { kills = cgroup_.usage().oom_kills; });  // the group is gone: none can be added
  if (kills <= told_) return {};
  told_ = kills;
  return log_.take(cgroup_.memory_group());
}

}  // namespace holm::runtime
