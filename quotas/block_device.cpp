#include "quotas/block_device.h"

#include <fmt/core.h>

#include "base/text.h"

namespace holm::quotas {

std::string format_device_number(DeviceNumber number) {
  return fmt::format("{}:{}", number.major, number.minor);
}

std::optional<DeviceNumber> parse_device_number(std::string_view text) {
  constexpr uint64_t kMost = 1 << 20;  // 12 bits of major, 20 of minor
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto major = parse_unsigned(text.substr(0, colon));
  const auto minor = parse_unsigned(text.substr(colon + 1));
  if (!major || !minor || *major >= kMost || *minor >= kMost) return std::nullopt;
  return DeviceNumber{static_cast<unsigned>(*major), static_cast<unsigned>(*minor)};
}

}  // namespace holm::quotas
