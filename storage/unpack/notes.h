// What was left out, counted by reason.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"

namespace holm::unpack {

class Notes {
 public:
  // `reason` as in "left out 3 FIFOs or sockets".
  void add(std::string_view reason, std::string_view path) {
    Count& count = counts_[std::string(reason)];
    if (count.number++ == 0) count.first = printable(path.substr(0, 200));
  }

  std::vector<std::string> sentences() const {
    std::vector<std::string> out;
    for (const auto& [reason, count] : counts_)
      out.push_back(fmt::format("left out {} {} (the first: '{}')", count.number, reason, count.first));
    return out;
  }

 private:
  struct Count {
    uint64_t number = 0;
    std::string first;
  };
  std::map<std::string, Count> counts_;
};

}  // namespace holm::unpack
