// What this host can and cannot do for containers, each found by trying it, with the cure.
#pragma once

#include <string>
#include <vector>

#include "runtime/container_store.h"

namespace holm::runtime {

enum class Verdict {
  ok,
  limited,  // containers run without it; something named is not to be had
  missing,  // containers cannot be started
};
const char* verdict_name(Verdict verdict);

struct Finding {
  std::string what;
  Verdict verdict = Verdict::ok;
  std::string detail;
  std::string cure;
};

std::vector<Finding> check_host(const Installation& installation);

}  // namespace holm::runtime
