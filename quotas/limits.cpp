#include "quotas/limits.h"

#include <fmt/core.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace holm::quotas {
namespace {

// A CPU number as digits; nothing where it is none or too large.
std::optional<unsigned> parse_cpu(std::string_view text) {
  const auto number = parse_unsigned(text);
  if (!number || *number > kMaxCpu) return std::nullopt;
  return static_cast<unsigned>(*number);
}

CpuSet parse_online(const char* path, const std::string& text) {
  const auto numbers = parse_cpu_set(trim(text));
  if (!numbers) throw Error(fmt::format("read '{}': '{}' is no list of numbers", path, trim(text)));
  return *numbers;
}

}  // namespace

std::optional<CpuSet> parse_cpu_set(std::string_view text) {
  if (text.empty()) return std::nullopt;
  CpuSet cpus;
  for (const std::string& part : split(text, ',')) {
    const std::string_view range = part;
    const size_t dash = range.find('-');
    const auto first = parse_cpu(range.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_cpu(range.substr(dash + 1));
    if (!first || !last || *first > *last) return std::nullopt;
    for (unsigned cpu = *first; cpu <= *last; ++cpu) cpus.insert(cpu);
  }
  return cpus;
}

std::string format_cpu_set(const CpuSet& cpus) {
  std::string text;
  for (auto at = cpus.begin(); at != cpus.end();) {
    const unsigned first = *at;
    unsigned last = first;
    while (++at != cpus.end() && *at == last + 1) last = *at;
    if (!text.empty()) text += ',';
    text += first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
  }
  return text;
}

CpuSet online_cpus() {
  static constexpr const char* kOnline = "/sys/devices/system/cpu/online";
  return parse_online(kOnline, read_file(kOnline));
}

CpuSet online_nodes() {
  static constexpr const char* kOnline = "/sys/devices/system/node/online";
  const auto text = read_file_if_exists(kOnline);
  return text ? parse_online(kOnline, *text) : CpuSet{0};
}

Bytes host_memory() {
  struct sysinfo info = {};
  return ::sysinfo(&info) == 0 ? Bytes{uint64_t{info.totalram} * info.mem_unit} : Bytes{0};
}

CpuSet choose_cpus(const CpuLimits& limits, const CpuSet& online, uint32_t number) {
  if (!limits.count && limits.pin.empty()) return {};
  for (const unsigned cpu : limits.pin)
    if (!online.contains(cpu))
      throw Error(fmt::format("set cpu.pin to '{}': CPU {} is not online", format_cpu_set(limits.pin), cpu))
          .hint(fmt::format("this host may use the CPUs {}", format_cpu_set(online)));

  const CpuSet& allowed = limits.pin.empty() ? online : limits.pin;
  if (!limits.count) return allowed;
  const size_t count = *limits.count;
  if (count == 0) throw Error("set cpu.count to 0: a container needs at least one CPU");
  if (count > allowed.size())
    throw Error(fmt::format("set cpu.count to {}: only {} CPU{} to choose from ({})", count, allowed.size(),
                            allowed.size() == 1 ? "" : "s", format_cpu_set(allowed)));

  const std::vector<unsigned> candidates(allowed.begin(), allowed.end());
  CpuSet chosen;
  for (size_t i = 0; i < count; ++i)
    chosen.insert(candidates[(uint64_t{number} * count + i) % candidates.size()]);
  return chosen;
}

std::string io_keys(const IoLimits& limits) {
  std::vector<std::string> keys;
  if (limits.weight != kDefaultIoWeight) keys.emplace_back("io.weight");
  if (limits.read) keys.emplace_back("io.read");
  if (limits.write) keys.emplace_back("io.write");
  if (limits.read_ops) keys.emplace_back("io.read_ops");
  if (limits.write_ops) keys.emplace_back("io.write_ops");
  return join(keys, ", ");
}

std::string without_effect(const std::string& keys) {
  return keys + (keys.find(',') == std::string::npos ? " has no effect" : " have no effect");
}

uint64_t cpu_weight_v2(uint32_t weight) {
  return std::clamp<uint64_t>((uint64_t{weight} * 100 + 128) / 256, 1, 10000);
}

uint64_t cpu_shares_v1(uint32_t weight) { return uint64_t{weight} * 4; }

}  // namespace holm::quotas
