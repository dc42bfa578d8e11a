// The counters of running containers, read from the kernel at the moment of asking.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "quotas/cgroup.h"
#include "quotas/counters.h"
#include "runtime/container_store.h"

namespace holm::runtime {

// How long counting may take where it has to look at everything one by one; what is not done by then is left
// out, with a warning.
struct CounterPatience {
  std::chrono::milliseconds disk = std::chrono::seconds(2);        // zero: disk space is left out
  std::chrono::milliseconds processes = std::chrono::seconds(10);  // zero: what they hold is left out
};

struct CounterReport {
  std::string name;
  uint32_t number = 0;
  quotas::Counters counters;
  std::vector<std::string> warnings;
};

// Of its whole life: what earlier runs had comes from the ledger, which also remembers what was seen held.
enum class CounterSpan { life, run };

// The counters of one container; nothing where it is not running, or ended while it was looked at.
std::optional<CounterReport> read_counters(const Installation& installation,
                                           const quotas::CgroupLayout& layout, const std::string& name,
                                           const CounterPatience& patience, CounterSpan span);

// What a report is compared with: the last one that was kept, in the run directory. Nothing where there is
// none that can be used.
std::optional<quotas::Counters> load_last_counters(const Paths& paths, const std::string& name);
void keep_last_counters(const Paths& paths, const CounterReport& report);

}  // namespace holm::runtime
