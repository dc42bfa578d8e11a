#include "base/unit.h"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <cmath>

#include "base/text.h"

namespace holm {
namespace {

constexpr std::string_view kUnits = "KMGT";
constexpr uint64_t kMaxBytes = (uint64_t{1} << 63) - 1;

struct Number {
  double value;
  std::string_view unit;
};

// Splits "1.5G" into 1.5 and "G"; refuses signs, exponents and anything that does not begin with a digit.
std::optional<Number> split_number(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  if (digits == 0 || text.front() == '.' || text[digits - 1] == '.') return std::nullopt;
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + digits, value, std::chars_format::fixed);
  if (error != std::errc() || end != text.data() + digits) return std::nullopt;
  return Number{value, trim(text.substr(digits))};
}

struct Scaled {
  double value;
  char unit;  // 0: bytes
};

Scaled scale(Bytes bytes) {
  auto value = static_cast<double>(bytes.count);
  char unit = 0;
  for (const char next : kUnits) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return {value, unit};
}

std::string one_decimal(double value) {
  return value == std::floor(value) ? fmt::format("{:.0f}", value) : fmt::format("{:.1f}", value);
}

}  // namespace

std::optional<Bytes> parse_bytes(std::string_view text) {
  if (const auto plain = parse_unsigned(text)) {
    if (*plain > kMaxBytes) return std::nullopt;
    return Bytes{*plain};
  }
  const auto number = split_number(text);
  if (!number) return std::nullopt;
  std::string_view unit = number->unit;
  if (unit.ends_with("iB")) {
    unit.remove_suffix(2);
  } else if (unit.ends_with('B')) {
    unit.remove_suffix(1);
  }
  uint64_t factor = 1;
  if (unit.size() > 1) return std::nullopt;
  if (unit.size() == 1) {
    const size_t power = kUnits.find(static_cast<char>(std::toupper(static_cast<unsigned char>(unit[0]))));
    if (power == std::string_view::npos) return std::nullopt;
    factor = uint64_t{1} << (10 * (power + 1));
  } else if (number->unit.empty() && text.find('.') != std::string_view::npos) {
    return std::nullopt;  // "1.5" bytes is a slip, not a size
  }
  const double value = number->value * static_cast<double>(factor);
  if (value > static_cast<double>(kMaxBytes) * 0.999999) return std::nullopt;
  return Bytes{static_cast<uint64_t>(value)};
}

std::optional<Bytes> parse_rate(std::string_view text) {
  if (!text.ends_with("/s")) return std::nullopt;
  return parse_bytes(text.substr(0, text.size() - 2));
}

std::string format_bytes(Bytes bytes) {
  const Scaled scaled = scale(bytes);
  std::string out = one_decimal(scaled.value);
  if (scaled.unit) out += scaled.unit;
  return out;
}

std::string describe_bytes(Bytes bytes) {
  const Scaled scaled = scale(bytes);
  return scaled.unit ? fmt::format("{} {}iB", one_decimal(scaled.value), scaled.unit)
                     : fmt::format("{} B", bytes.count);
}

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  const auto number = split_number(text);
  if (!number) return std::nullopt;
  struct Unit {
    std::string_view name;
    double milliseconds;
  };
  static constexpr std::array<Unit, 6> kDurations = {
      {{"", 1e3}, {"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3}}};
  for (const Unit& unit : kDurations) {
    if (number->unit != unit.name) continue;
    const double value = number->value * unit.milliseconds;
    if (value > 1e15) return std::nullopt;
    return std::chrono::milliseconds(static_cast<int64_t>(std::llround(value)));
  }
  return std::nullopt;
}

std::string format_duration(std::chrono::seconds duration) {
  const int64_t total = duration.count();
  if (total < 60) return fmt::format("{}s", total);
  if (total < 3600) return fmt::format("{}m", total / 60);
  if (total < 86400) return fmt::format("{}h {}m", total / 3600, total % 3600 / 60);
  return fmt::format("{}d {}h", total / 86400, total % 86400 / 3600);
}

}  // namespace holm
