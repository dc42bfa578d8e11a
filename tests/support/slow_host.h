// What an emulated host, ten times slower than the machine that emulates it, may do otherwise: docs/lab.md.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

namespace holm::test {

// HOLM_TEST_PATIENCE: how many times longer than elsewhere something may take to happen.
inline int patience() {
  const char* text = std::getenv("HOLM_TEST_PATIENCE");
  return text ? std::atoi(text) : 1;
}

// HOLM_TEST_OWN_HOST: nobody else is on this host, whose memory may be filled, and which may be given swap.
inline bool is_own_host() { return std::getenv("HOLM_TEST_OWN_HOST") != nullptr; }

// HOLM_TEST_PART=2/12: this host takes the second of each twelve cases in a long list of like ones, other
// hosts take others. All where it is not set.
inline bool is_in_part(size_t number) {
  const char* text = std::getenv("HOLM_TEST_PART");
  if (!text) return true;
  const std::string part = text;
  const auto own = static_cast<size_t>(std::stoi(part)),
             parts = static_cast<size_t>(std::stoi(part.substr(part.find('/') + 1)));
  return number % parts == own - 1;
}

inline std::vector<std::string> part_of(const std::vector<std::string>& cases) {
  std::vector<std::string> part;
  for (size_t number = 0; number < cases.size(); ++number)
    if (is_in_part(number)) part.push_back(cases[number]);
  return part;
}

// Of so many repetitions of one case.
inline int part_of(int repetitions) {
  int part = 0;
  for (int number = 0; number < repetitions; ++number)
    part += is_in_part(static_cast<size_t>(number)) ? 1 : 0;
  return part;
}

}  // namespace holm::test
