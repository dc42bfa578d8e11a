// Usage as text, as comma-separated values and as JSON.
#pragma once

#include <string>
#include <vector>

#include "quotas/ledger.h"
#include "runtime/account.h"

namespace holm::cli {

struct UsageLine {
  quotas::UsageRow row;
  std::string state;  // "running", "stopped", "destroyed", ...
};

// For people: with units, and a line of totals.
std::string usage_table(const std::vector<UsageLine>& lines, bool with_period);
// For programs: whole numbers, each in the unit that its column's name ends in.
std::string usage_csv(const std::vector<UsageLine>& lines);
std::string usage_json(const std::vector<UsageLine>& lines);

// What a sampler has to say.
void print_warnings(const runtime::AccountReport& report);

}  // namespace holm::cli
