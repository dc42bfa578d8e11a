// What remains of measured values when one look is off.
#pragma once

#include <algorithm>
#include <vector>

namespace holm::test {

inline double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace holm::test
