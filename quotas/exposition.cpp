#include "quotas/exposition.h"

#include <fmt/core.h>

#include <string_view>

namespace holm::quotas {
namespace {

constexpr std::string_view kTotal = "_total";
constexpr uint64_t kSecond = 1'000'000'000;

std::string_view type_name(MetricType type, Exposition exposition) {
  if (type == MetricType::gauge) return "gauge";
  if (type == MetricType::counter) return "counter";
  return exposition == Exposition::openmetrics ? "unknown" : "untyped";
}

// OpenMetrics names the family of a counter without what its samples end in.
std::string_view family_name(const MetricFamily& family, Exposition exposition) {
  const std::string_view name = family.name;
  if (exposition == Exposition::prometheus || family.type != MetricType::counter) return name;
  return name.ends_with(kTotal) ? name.substr(0, name.size() - kTotal.size()) : name;
}

// Both formats escape the same in label values; in help texts none of it occurs.
std::string escape(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    c == '\n' ? out.append("\\n") : out.append(1, c);
  }
  return out;
}

std::string labels_of(const MetricSample& sample) {
  std::string out;
  for (const auto& [name, value] : sample.labels)
    out += fmt::format("{}{}=\"{}\"", out.empty() ? "" : ",", name, escape(value));
  return out.empty() ? out : "{" + out + "}";
}

}  // namespace

std::string format_metrics(const std::vector<MetricFamily>& families, Exposition exposition) {
  std::string out;
  for (const MetricFamily& family : families) {
    if (family.samples.empty()) continue;
    const std::string_view name = family_name(family, exposition);
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, family.help, name,
                       type_name(family.type, exposition));
    for (const MetricSample& sample : family.samples)
      out += fmt::format("{}{} {}\n", family.name, labels_of(sample), sample.value);
  }
  if (exposition == Exposition::openmetrics) out += "# EOF\n";
  return out;
}

std::string format_seconds(uint64_t nanoseconds) {
  std::string text = fmt::format("{}.{:09}", nanoseconds / kSecond, nanoseconds % kSecond);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

}  // namespace holm::quotas
