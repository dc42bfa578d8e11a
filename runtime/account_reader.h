// What the kernel has counted for containers, as samples for the ledger.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "netsetup/traffic.h"
#include "quotas/cgroup.h"
#include "quotas/counters.h"
#include "quotas/ledger.h"
#include "runtime/container_store.h"
#include "runtime/state.h"

namespace holm::runtime {

// CLOCK_BOOTTIME: goes on in suspend, and nobody can set it.
int64_t boottime_now_ns();

struct LinkTraffic {
  std::string link;           // the host's end: "hm7"
  int index = 0;              // never that of a later link before the host is booted again
  netsetup::Traffic traffic;  // as the container sees it
};
// The links that a container of this number has now, each with what went through it.
std::vector<LinkTraffic> link_traffic(const Paths& paths, uint32_t number);

// A container's links under the names of its interfaces, in the order of its config. What a start left out
// (other modes than nat have no link of the container's own) is left out here.
std::vector<quotas::Traffic> interface_traffic(const Paths& paths, uint32_t number,
                                               const std::vector<LinkTraffic>& links,
                                               const std::vector<std::string>& interfaces);

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

 private:
  std::vector<LinkTraffic> links_of(uint32_t number) const;

  Paths paths_;
  quotas::CgroupLayout layout_;
  std::string boot_id_;
  struct Known {
    std::string stamp;
    Identity identity;
  };
  std::map<std::string, Known> known_;          // by name
  std::multimap<uint32_t, LinkTraffic> links_;  // by number
};

}  // namespace holm::runtime
