#include "quotas/beancounters.h"

#include <fmt/core.h>

#include <limits>

#include "base/text.h"

namespace holm::quotas {
namespace {

constexpr std::string_view kVersion = "Version: 2.5";

// Names longer than OpenVZ's longest shift the rest of their line: readers split at blanks.
std::string format_line(std::string_view owner, char mark, const Counter& counter) {
  return fmt::format("{:>10}{} {:<12} {:>20} {:>20} {:>20} {:>20} {:>20}\n", owner, mark, counter.resource,
                     counter.held, counter.maxheld, counter.barrier, counter.limit, counter.failcnt);
}

std::optional<Counter> parse_counter(const std::vector<std::string>& words, size_t from) {
  if (words.size() != from + 6) return std::nullopt;
  Counter counter;
  counter.resource = words[from];
  size_t word = from;
  for (uint64_t* column :
       {&counter.held, &counter.maxheld, &counter.barrier, &counter.limit, &counter.failcnt}) {
    const auto number = parse_unsigned(words[++word]);
    if (!number) return std::nullopt;
    *column = *number;
  }
  return counter;
}

// "101:" -> 101.
std::optional<uint32_t> parse_owner(std::string_view word) {
  if (!word.ends_with(':')) return std::nullopt;
  const auto number = parse_unsigned(word.substr(0, word.size() - 1));
  if (!number || *number > std::numeric_limits<uint32_t>::max()) return std::nullopt;
  return static_cast<uint32_t>(*number);
}

}  // namespace

std::string format_beancounters(const std::vector<ContainerCounters>& containers) {
  std::string text = fmt::format("{}\n{:>10}  {:<12} {:>20} {:>20} {:>20} {:>20} {:>20}\n", kVersion, "uid",
                                 "resource", "held", "maxheld", "barrier", "limit", "failcnt");
  for (const ContainerCounters& container : containers) {
    bool is_first = true;
    for (const Counter& counter : container.counters) {
      text += is_first ? format_line(std::to_string(container.number), ':', counter)
                       : format_line("", ' ', counter);
      is_first = false;
    }
  }
  return text;
}

std::optional<std::vector<ContainerCounters>> parse_beancounters(std::string_view text) {
  std::vector<ContainerCounters> containers;
  size_t number = 0;
  for (const std::string& line : split(text, '\n')) {
    const std::vector<std::string> words = split_words(line);
    if (++number == 1 && line != kVersion) return std::nullopt;
    if (number == 2 && (words.empty() || words[0] != "uid")) return std::nullopt;
    if (number <= 2 || words.empty()) continue;
    const auto owner = parse_owner(words[0]);
    if (owner) containers.push_back({*owner, {}});
    if (containers.empty()) return std::nullopt;
    auto counter = parse_counter(words, owner ? 1 : 0);
    if (!counter) return std::nullopt;
    containers.back().counters.push_back(std::move(*counter));
  }
  if (number < 2) return std::nullopt;
  return containers;
}

}  // namespace holm::quotas
