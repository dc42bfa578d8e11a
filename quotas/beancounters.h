// The text of /proc/user_beancounters, as OpenVZ's kernels print it (64-bit, "Version: 2.5").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quotas/counters.h"

namespace holm::quotas {

struct ContainerCounters {
  uint32_t number = 0;
  Counters counters;
};

// Both header lines, then for each container a line per counter, the first with "NUMBER:" in front. A
// container without counters has no line.
std::string format_beancounters(const std::vector<ContainerCounters>& containers);

// What format_beancounters made; nothing where the text is anything else.
std::optional<std::vector<ContainerCounters>> parse_beancounters(std::string_view text);

}  // namespace holm::quotas
