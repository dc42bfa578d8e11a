// A container's file locks, from the host's /proc/locks. Not for other folders.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <unordered_set>

#include "quotas/process_census.h"

namespace holm::quotas {

// What the lines of /proc/locks (or those behind "lock:" in a /proc/PID/fdinfo file) tell of some processes.
// Locks that are only waited for do not count.
struct LockCount {
  uint64_t held = 0;    // by the processes
  uint64_t orphan = 0;  // by whoever has the open file: nobody took it, or one that is gone
};
LockCount count_lock_lines(std::string_view text, const std::unordered_set<pid_t>& processes,
                           const std::function<bool(pid_t)>& is_alive);

struct HeldLocks {
  uint64_t count = 0;
  bool is_complete = true;  // false: the host's processes hold more than could be looked at
};
// Locks and leases that the container holds. A lock that belongs to an open file may have outlived the
// process that took it: then the files that the census found are asked.
HeldLocks count_file_locks(const ProcessCensus& census);

}  // namespace holm::quotas
