// What the kernel has counted for containers, as samples for the ledger.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "quotas/cgroup.h"
#include "quotas/counters.h"
#include "quotas/ledger.h"
#include "runtime/container_store.h"
#include "runtime/host_links.h"

namespace holm::runtime {

// CLOCK_BOOTTIME: goes on in suspend, and nobody can set it.
int64_t boottime_now_ns();

// Which run of a container its counters are of; "" where nothing was counted.
std::string counters_life(const std::string& boot_id, const quotas::Usage& usage);
// What a counter's table outlives a run with; rows of which nothing was counted are left out.
std::vector<quotas::CounterReading> counter_readings(const quotas::Counters& counters);

struct AccountReading {
  quotas::LedgerSample sample;
  bool is_orphaned = false;  // init runs, its monitor does not
};

// Reads samples of several containers. What is the same for all of them is looked up once, at its begin: make
// one for each transaction of the ledger, within it.
class AccountReader {
 public:
  AccountReader(const Paths& paths, std::span<const std::string> names);

  // Nothing where the container holds nothing in the kernel, or became another's while it was looked at.
  // `ended_ns`: when its init ended, on CLOCK_BOOTTIME, where that is known. Throws where its files cannot be
  // read.
  std::optional<AccountReading> read(const std::string& name,
                                     std::optional<int64_t> ended_ns = std::nullopt) const;
  // Of those whose identity can be read.
  std::vector<std::string> uuids() const;

 private:
  Paths paths_;
  quotas::CgroupLayout layout_;
  std::string boot_id_;
  struct Known {
    std::string stamp;
    Identity identity;
  };
  static std::map<std::string, Known> known(const Paths& paths, std::span<const std::string> names);

  std::map<std::string, Known> known_;  // by name
  HostLinks links_;                     // after the identities
};

}  // namespace holm::runtime
