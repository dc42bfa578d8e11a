// Learns of processes of a container that the kernel killed for want of memory: how many, and which.
#pragma once

#include <poll.h>

#include <chrono>
#include <optional>
#include <vector>

#include "quotas/cgroup.h"
#include "quotas/oom_log.h"

namespace holm::runtime {

class OomWatch {
 public:
  using Clock = std::chrono::steady_clock;

  // `cgroup` outlives it.
  explicit OomWatch(const quotas::Cgroup& cgroup);

  // What poll(2) shall wait for, and until when at most.
  pollfd wanted() const;
  std::optional<Clock::time_point> look_at() const;
  // After the poll: kills that it has not told yet. `ready`: whether what was wanted happened.
  std::vector<quotas::OomKill> take(bool ready);

 private:
  const quotas::Cgroup& cgroup_;
  UniqueFd event_;
  quotas::OomLog log_;
  uint64_t told_;  // how many kills the kernel had counted at the last look
  // An event comes before the kill on cgroup v1: until then it looks again.
  Clock::time_point look_until_;
};

}  // namespace holm::runtime
