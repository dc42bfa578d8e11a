#include "quotas/counters.h"

#include <algorithm>

namespace holm::quotas {
namespace {

const Counter* find(const Counters& counters, const std::string& resource) {
  const auto found = std::find_if(counters.begin(), counters.end(),
                                  [&](const Counter& counter) { return counter.resource == resource; });
  return found == counters.end() ? nullptr : &*found;
}

// Sums stay what a parser of the table can read.
uint64_t add(uint64_t a, uint64_t b) { return a > kUnlimited - std::min(b, kUnlimited) ? kUnlimited : a + b; }

uint64_t growth(uint64_t before, uint64_t now) { return now >= before ? now - before : now; }

}  // namespace

Counters merge(const Counters& base, const Counters& now) {
  Counters merged = now;
  for (Counter& counter : merged) {
    const Counter* earlier = find(base, counter.resource);
    if (!earlier) continue;
    counter.failcnt = add(earlier->failcnt, counter.failcnt);
    if (is_total(counter.resource)) {
      counter.held = add(earlier->held, counter.held);
      counter.maxheld = counter.held;
    } else {
      counter.maxheld = std::max({earlier->maxheld, counter.maxheld, counter.held});
    }
  }
  for (const Counter& earlier : base) {
    // Who was not asked what is held now must not tell any number.
    if (find(now, earlier.resource) || !is_total(earlier.resource)) continue;
    merged.push_back(earlier);
    merged.back().barrier = merged.back().limit = kUnlimited;
  }
  return merged;
}

Counters difference(const Counters& before, const Counters& now) {
  Counters result = now;
  for (Counter& counter : result) {
    const Counter* earlier = find(before, counter.resource);
    if (!earlier) continue;
    counter.failcnt = growth(earlier->failcnt, counter.failcnt);
    if (is_total(counter.resource)) counter.held = counter.maxheld = growth(earlier->held, counter.held);
  }
  return result;
}

bool is_notable(const Counter& counter) {
  if (counter.failcnt > 0) return true;
  const uint64_t allowed = std::min(counter.barrier, counter.limit);
  // Where nothing is allowed (no swap), nothing held is no shortage.
  return allowed < kUnlimited && counter.held > allowed - allowed / 5;
}

}  // namespace holm::quotas
