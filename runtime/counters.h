// The counters of running containers, read from the kernel at the moment of asking.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "quotas/cgroup.h"
#include "quotas/counters.h"
#include "quotas/facts.h"
#include "quotas/ledger.h"
#include "runtime/account.h"
#include "runtime/container_store.h"
#include "runtime/host_links.h"
#include "runtime/observe.h"

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
  // Behind the counters:
  quotas::Facts facts;  // of this run
  std::string uuid;
  int64_t started_at = 0;                     // seconds since the epoch
  unsigned restarts = 0;                      // since the last start by a person
  std::string life;                           // of this run's counters, in the ledger
  std::vector<quotas::CounterReading> risen;  // what the ledger does not know yet: is_peak_by_looks
};

// Of its whole life: what earlier runs had comes from the ledger, which also remembers what was seen held.
enum class CounterSpan { life, run };

// One look at several containers: what they share is looked up once, at its begin.
class CounterReader {
 public:
  CounterReader(const Installation& installation, CounterPatience patience, CounterSpan span);

  const quotas::CgroupLayout& layout() const { return layout_; }
  // Why the counters are of this run alone although more was asked for; "" where they are not.
  const std::string& problem() const { return problem_; }
  // Nothing where it was not running, or ended while it was looked at.
  std::optional<CounterReport> read(const Observation& seen) const;

 private:
  void add_earlier(CounterReport& report) const;
  std::vector<quotas::Traffic> traffic_of(const State& state) const;

  const Installation& installation_;
  CounterPatience patience_;
  CounterSpan span_;
  quotas::CgroupLayout layout_;
  int64_t links_read_ns_;  // on CLOCK_BOOTTIME, before they were
  HostLinks links_;
  std::optional<quotas::Ledger> ledger_;
  std::string problem_;
};

// Writes what was read into the ledger: what has been shown is not taken back, even where nobody sees a
// container's end.
AccountReport keep_counters(const Paths& paths, const std::vector<CounterReport>& reports);

// Those of its whole life, for where it goes on elsewhere: all that is known without a look at each process
// and file. None where it has ended.
std::vector<quotas::CounterReading> counters_to_take_along(const Installation& installation,
                                                           const Observation& seen);
// Has a container that comes from there go on from them. It may have been here earlier.
void bring_counters(const Paths& paths, const std::string& uuid, const std::string& name,
                    const std::vector<quotas::CounterReading>& counters);

// What a report is compared with: the last one that was kept, in the run directory. Nothing where there is
// none that can be used.
std::optional<quotas::Counters> load_last_counters(const Paths& paths, const std::string& name);
void keep_last_counters(const Paths& paths, const CounterReport& report);

}  // namespace holm::runtime
