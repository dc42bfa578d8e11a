// A container's counters: OpenVZ's rows and columns on an upstream kernel, and Holm's own rows behind them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "quotas/facts.h"

namespace holm::quotas {

inline constexpr uint64_t kUnlimited = 9223372036854775807;

// One accounted resource. The unit is the row's: unit_of.
struct Counter {
  std::string resource;  // "physpages", "netrx.eth0"
  uint64_t held = 0;     // now; of a total: since it began
  uint64_t maxheld = 0;  // the most that was ever held
  uint64_t barrier = kUnlimited;
  uint64_t limit = kUnlimited;
  uint64_t failcnt = 0;  // how often more was refused; what was reclaimed in time is no refusal
  bool operator==(const Counter&) const = default;
};
using Counters = std::vector<Counter>;

// What went through a container's interface, as the container sees it.
struct Traffic {
  std::string interface;  // "eth0"
  uint64_t received_bytes = 0, received_packets = 0;
  uint64_t sent_bytes = 0, sent_packets = 0;
};

// OpenVZ's rows, all of them and in its order, then those of Holm's that the facts know.
Counters make_counters(const Facts& facts, const std::vector<Traffic>& traffic);

// True for what only grows (cputime, netrx.eth0): `held` is then a sum and not what is there now.
bool is_total(std::string_view resource);
// False where the host does not tell any column of it, or where it was not looked for.
bool is_known(std::string_view resource, const Facts& facts);
// True for a gauge of which this host's kernel keeps no peak: maxheld is then the most that a look has seen.
bool is_peak_by_looks(std::string_view resource, const Facts& facts);
// "bytes", "pages", "ns" or "pieces".
const char* unit_of(std::string_view resource);

// The counters of a whole life: those of earlier runs (`base`) and this run's (`now`). Totals and failcnt
// add up, maxheld is the larger one, the rest is as it is now. Totals that only `base` has come last.
Counters merge(const Counters& base, const Counters& now);

// What happened between two looks: totals and failcnt without those of `before`, the rest as it is now. What
// is smaller than before began anew meanwhile and is taken as it is.
Counters difference(const Counters& before, const Counters& now);

// True where more was refused, or more than four fifths of what is allowed are held.
bool is_notable(const Counter& counter);

}  // namespace holm::quotas
