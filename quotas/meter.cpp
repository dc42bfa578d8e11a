#include "quotas/meter.h"

#include <algorithm>

namespace holm::quotas {

UsageSums& UsageSums::operator+=(const UsageSums& other) {
  for (size_t i = 0; i < values.size(); ++i) values[i] += other.values[i];
  memory_peak_bytes = std::max(memory_peak_bytes, other.memory_peak_bytes);
  return *this;
}

std::string format_wide(Wide value) {
  const bool negative = value < 0;
  std::string digits;
  do {
    const int digit = static_cast<int>(value % 10);
    digits += static_cast<char>('0' + (digit < 0 ? -digit : digit));
    value /= 10;
  } while (value != 0);
  if (negative) digits += '-';
  std::reverse(digits.begin(), digits.end());
  return digits;
}

}  // namespace holm::quotas
