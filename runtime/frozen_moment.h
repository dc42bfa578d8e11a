// Holds a container still while something of it is changed that its processes must not race with.
#pragma once

#include <string>

#include "quotas/cgroup.h"
#include "runtime/paths.h"

namespace holm::runtime {

// Freezes the container until the end of the scope; one that is paused already stays paused. The caller holds
// the container's lock. Throws where it does not freeze within 10 s.
class FrozenMoment {
 public:
  FrozenMoment(const Paths& paths, const std::string& name, quotas::Cgroup& cgroup);
  ~FrozenMoment();
  FrozenMoment(const FrozenMoment&) = delete;
  FrozenMoment& operator=(const FrozenMoment&) = delete;

 private:
  quotas::Cgroup& cgroup_;
  std::string mark_;  // empty: it was paused before
};

// Thaws what a command that was killed within such a moment left frozen. The caller holds the lock.
void end_forgotten_moment(const Paths& paths, const std::string& name, uint32_t number);

}  // namespace holm::runtime
