#include "cli/usage_output.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/unit.h"
#include "cli/command.h"
#include "cli/table.h"

namespace holm::cli {
namespace {

using quotas::Quantity;
using quotas::UsageSums;
using quotas::Wide;

constexpr Wide kSecond = 1'000'000'000;

UsageSums total_of(const std::vector<UsageLine>& lines) {
  UsageSums total;
  for (const UsageLine& line : lines) total += line.row.sums;
  return total;
}

std::string format_time(Wide nanoseconds) {
  const auto seconds = static_cast<int64_t>(nanoseconds / kSecond);
  if (seconds < 60) return fmt::format("{:.1f}s", static_cast<double>(nanoseconds) / 1e9);
  return format_duration(std::chrono::seconds(seconds));
}

std::string format_size(Wide bytes) {
  constexpr Wide kMost = std::numeric_limits<int64_t>::max();
  return format_bytes(Bytes{static_cast<uint64_t>(std::min(bytes, kMost))});
}

std::vector<std::string> cells_of(const UsageSums& sums) {
  const double gib_hours = static_cast<double>(sums[Quantity::memory_time]) / (1024.0 * 1024.0 * 3600.0);
  return {format_time(sums[Quantity::uptime]),
          format_time(sums[Quantity::cpu]),
          fmt::format("{:.3f}", gib_hours),
          format_size(static_cast<Wide>(sums.memory_peak_bytes)),
          format_size(sums[Quantity::io_read_bytes]),
          format_size(sums[Quantity::io_written_bytes]),
          format_size(sums[Quantity::net_received_bytes]),
          format_size(sums[Quantity::net_sent_bytes]),
          quotas::format_wide(sums[Quantity::oom_kills])};
}

std::string begin_text(const UsageLine& line) { return quotas::format_moment(line.row.begin); }
std::string end_text(const UsageLine& line) { return quotas::format_moment(line.row.end); }

std::string json_sums(const UsageSums& sums) {
  std::string out;
  for (size_t i = 0; i < quotas::kQuantities.size(); ++i)
    out += fmt::format("\"{}\": {}, ", quotas::kQuantities[i], quotas::format_wide(sums.values[i]));
  return out + fmt::format("\"memory_peak_bytes\": {}", sums.memory_peak_bytes);
}

std::string quote(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string usage_table(const std::vector<UsageLine>& lines, bool with_period) {
  std::vector<std::string> header = {"NAME", "STATE"};
  if (with_period) header.emplace_back("PERIOD");
  for (const char* title :
       {"UPTIME", "CPU", "GIB-HOURS", "PEAK", "READ", "WRITTEN", "RECEIVED", "SENT", "OOM"})
    header.emplace_back(title);
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](std::vector<std::string> row, const UsageSums& sums) {
    for (std::string& cell : cells_of(sums)) row.push_back(std::move(cell));
    rows.push_back(std::move(row));
  };
  for (const UsageLine& line : lines) {
    std::vector<std::string> row = {line.row.name, line.state};
    if (with_period)
      row.push_back(quotas::format_period(line.row.span.value_or(quotas::Span::hour), line.row.begin));
    add(std::move(row), line.row.sums);
  }
  // A cell without text is shown as "-".
  add(with_period ? std::vector<std::string>{"total", "", ""} : std::vector<std::string>{"total", ""},
      total_of(lines));
  return format_table(header, rows);
}

// Names, states and times need no quotes: they are made of letters, digits, hyphens and colons.
std::string usage_csv(const std::vector<UsageLine>& lines) {
  std::string out = "name,uuid,state,begin,end";
  for (const std::string_view name : quotas::kQuantities) out += fmt::format(",{}", name);
  out += ",memory_peak_bytes\n";
  for (const UsageLine& line : lines) {
    out += fmt::format("{},{},{},{},{}", line.row.name, line.row.uuid, line.state, begin_text(line),
                       end_text(line));
    for (const Wide value : line.row.sums.values) out += "," + quotas::format_wide(value);
    out += fmt::format(",{}\n", line.row.sums.memory_peak_bytes);
  }
  return out;
}

// By hand, as the sums may have more digits than a JSON library's numbers.
std::string usage_json(const std::vector<UsageLine>& lines) {
  std::string rows;
  for (const UsageLine& line : lines) {
    rows += fmt::format("{}\n    {{\"name\": {}, \"uuid\": {}, \"state\": {}, ", rows.empty() ? "" : ",",
                        quote(line.row.name), quote(line.row.uuid), quote(line.state));
    rows += fmt::format("\"period\": {}, \"begin\": {}, \"end\": {}, {}}}",
                        line.row.span ? quote(quotas::span_name(*line.row.span)) : "null",
                        quote(begin_text(line)), quote(end_text(line)), json_sums(line.row.sums));
  }
  return fmt::format("{{\n  \"rows\": [{}{}],\n  \"total\": {{{}}}\n}}\n", rows, rows.empty() ? "" : "\n  ",
                     json_sums(total_of(lines)));
}

void print_warnings(const runtime::AccountReport& report) {
  for (const auto* lines : {&report.notes, &report.warnings})
    for (const std::string& line : *lines) print_warning(line);
}

}  // namespace holm::cli
