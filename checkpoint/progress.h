// How far something long is.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace holm::checkpoint {

struct ProgressReport {
  std::string_view phase;  // "write", "read"
  uint64_t done = 0;       // bytes
  uint64_t total = 0;      // 0: not known
};
using Progress = std::function<void(const ProgressReport&)>;

}  // namespace holm::checkpoint
