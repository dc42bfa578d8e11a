// What `holm metrics` tells of containers.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "quotas/exposition.h"
#include "runtime/counters.h"
#include "runtime/observe.h"

namespace holm::runtime {

// Metrics of containers (`conditions`, by name), and of those that run (`reports`) what they use: under
// cAdvisor's names what cAdvisor has too, with its units and meaning, the rest as "holm_...".
std::vector<quotas::MetricFamily> make_metrics(const std::map<std::string, Condition>& conditions,
                                               const std::vector<CounterReport>& reports);

}  // namespace holm::runtime
