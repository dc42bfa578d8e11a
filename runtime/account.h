// From containers to the ledger: who samples them, and when.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quotas/ledger.h"
#include "runtime/container_store.h"
#include "runtime/kept_samples.h"
#include "runtime/paths.h"

namespace holm::runtime {

struct AccountReport {
  size_t counted = 0;                 // containers of which a sample was written
  std::vector<std::string> warnings;  // counters that ran backwards, containers that cannot be read
  std::vector<std::string> notes;     // about the ledger itself: Ledger::notes
  std::vector<std::string> orphans;   // containers that run without a monitor
  std::vector<std::string> uuids;     // of all those asked for that can be read
};

// Counts what these containers used since their last samples. Throws where the ledger cannot be written: then
// nothing has been counted, and the next sample counts it all.
AccountReport sample_accounts(const Paths& paths, const std::vector<std::string>& names,
                              Durability durability = Durability::survives_crash,
                              std::optional<int64_t> ended_ns = std::nullopt);
// All containers, and what was kept of those that are gone; then the ledger is rolled up as the host's
// settings say.
AccountReport sample_all_accounts(const Installation& installation);
// What was kept alone; what is wrong with it.
std::vector<std::string> take_in_kept_samples(const Paths& paths);

// After a change that worked, whatever becomes of the sample: the next one counts the same.
void sample_after_change(const Paths& paths, const std::string& name) noexcept;
// The ledger's name follows the container's.
void rename_in_ledger(const Paths& paths, const std::string& name) noexcept;
// Before the cgroup and the links of a run are removed. What cannot be written is kept in a file of its own,
// which the next sample takes in: nothing that the kernel counted depends on the ledger being in order now.
void take_last_sample(const Paths& paths, const std::string& name) noexcept;
// The second half of that alone.
void keep_last_sample(const Paths& paths, const std::string& name, std::optional<int64_t> ended_ns,
                      LedgerDisk disk);

}  // namespace holm::runtime
