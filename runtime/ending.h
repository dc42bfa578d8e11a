// How a container's init is brought to its end.
#pragma once

#include <chrono>

#include "quotas/cgroup.h"
#include "runtime/observe.h"

namespace holm::runtime {

// Asks init to end in the way that its program understands, and thaws a frozen container for it. True when it
// has ended within `timeout`; false when that is over, or when init is such that asking is in vain.
bool end_politely(quotas::Cgroup& cgroup, const Observation& seen, std::chrono::milliseconds timeout);

// With init its whole pid namespace dies. What outlives it in the cgroup is left to whoever removes the
// cgroup.
void kill_init(quotas::Cgroup& cgroup, const Observation& seen);

}  // namespace holm::runtime
