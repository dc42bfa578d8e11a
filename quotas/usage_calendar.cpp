#include "quotas/usage_calendar.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>

#include "base/text.h"
#include "quotas/meter.h"

namespace holm::quotas {
namespace {

using std::chrono::days;
using std::chrono::sys_days;
using std::chrono::sys_seconds;
using std::chrono::year_month_day;

constexpr int64_t kHour = 3600, kDay = 86400, kNanoseconds = 1'000'000'000;

int64_t floor_to(int64_t value, int64_t step) {
  const int64_t rest = value % step;
  return value - (rest < 0 ? rest + step : rest);
}

year_month_day date_of(int64_t moment) {
  return year_month_day(std::chrono::floor<days>(sys_seconds(std::chrono::seconds(moment))));
}

int64_t first_of_month(year_month_day date) {
  return sys_seconds(sys_days(date.year() / date.month() / 1)).time_since_epoch().count();
}

// The digits of `text` from `at` on; nothing where one is none.
std::optional<int> digits(std::string_view text, size_t at, size_t count) {
  if (text.size() < at + count) return std::nullopt;
  const std::string_view part = text.substr(at, count);
  if (part.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return static_cast<int>(*parse_unsigned(part));
}

// "2026-11", "2026-11-20".
std::optional<int64_t> parse_date(std::string_view text) {
  if (text.size() != 7 && text.size() != 10) return std::nullopt;
  if (text[4] != '-' || (text.size() == 10 && text[7] != '-')) return std::nullopt;
  const auto year = digits(text, 0, 4), month = digits(text, 5, 2);
  const auto day = text.size() == 10 ? digits(text, 8, 2) : std::optional(1);
  if (!year || !month || !day) return std::nullopt;
  const year_month_day date = std::chrono::year(*year) / *month / *day;
  if (!date.ok() || *year < 1970) return std::nullopt;
  return sys_seconds(sys_days(date)).time_since_epoch().count();
}

// "14:00", "14:00Z" as seconds.
std::optional<int64_t> parse_time_of_day(std::string_view text) {
  if (text.ends_with('Z')) text.remove_suffix(1);
  if (text.size() != 5 || text[2] != ':') return std::nullopt;
  const auto hours = digits(text, 0, 2), minutes = digits(text, 3, 2);
  if (!hours || !minutes || *hours > 23 || *minutes > 59) return std::nullopt;
  return *hours * kHour + *minutes * 60;
}

// "90m", "24h", "7d".
std::optional<int64_t> parse_ago(std::string_view text) {
  if (text.size() < 2) return std::nullopt;
  const int64_t unit = text.back() == 'm' ? 60 : text.back() == 'h' ? kHour : text.back() == 'd' ? kDay : 0;
  const auto count = parse_unsigned(text.substr(0, text.size() - 1));
  if (unit == 0 || !count || *count > 1'000'000) return std::nullopt;
  return static_cast<int64_t>(*count) * unit;
}

}  // namespace

const char* span_name(Span span) { return span == Span::hour ? "hour" : span == Span::day ? "day" : "month"; }

int64_t begin_of(Span span, int64_t moment) {
  if (span == Span::month) return first_of_month(date_of(moment));
  return floor_to(moment, span == Span::hour ? kHour : kDay);
}

int64_t end_of(Span span, int64_t moment) {
  if (span == Span::month) return months_before(moment, -1);
  return begin_of(span, moment) + (span == Span::hour ? kHour : kDay);
}

int64_t months_before(int64_t moment, int64_t months) {
  const year_month_day date = date_of(moment);
  return first_of_month(date.year() / date.month() / 1 - std::chrono::months(months));
}

std::string format_moment(int64_t moment) {
  const int64_t minutes = floor_to(moment, 60) - begin_of(Span::day, moment);
  return fmt::format("{}T{:02}:{:02}Z", format_period(Span::day, moment), minutes / kHour,
                     minutes % kHour / 60);
}

std::string format_period(Span span, int64_t begin) {
  if (span == Span::hour) return format_moment(begin);
  const year_month_day date = date_of(begin);
  const std::string month =
      fmt::format("{:04}-{:02}", static_cast<int>(date.year()), static_cast<unsigned>(date.month()));
  return span == Span::month ? month : fmt::format("{}-{:02}", month, static_cast<unsigned>(date.day()));
}

std::optional<int64_t> parse_moment(std::string_view text, int64_t now) {
  if (text == "now") return now;
  if (text == "today") return begin_of(Span::day, now);
  if (text == "yesterday") return begin_of(Span::day, now) - kDay;
  if (const auto ago = parse_ago(text)) return now - *ago;
  const size_t middle = text.find('T');
  const auto date = parse_date(text.substr(0, middle));
  if (!date || middle == std::string_view::npos) return date;
  const auto time = middle == 10 ? parse_time_of_day(text.substr(middle + 1)) : std::nullopt;
  return time ? std::optional(*date + *time) : std::nullopt;
}

std::vector<HourShare> split_by_hour(int64_t until, int64_t length) {
  constexpr int64_t kHourNanoseconds = kHour * kNanoseconds;
  std::vector<HourShare> shares;
  const int64_t from = until - std::max<int64_t>(length, 0);
  for (int64_t at = from; at < until;) {
    const int64_t hour = floor_to(at, kHourNanoseconds);
    const int64_t end = std::min(until, hour + kHourNanoseconds);
    shares.push_back({hour / kNanoseconds, end - at});
    at = end;
  }
  if (shares.empty()) shares.push_back({floor_to(until, kHourNanoseconds) / kNanoseconds, 0});
  return shares;
}

// By differences of the rounded running sum, so that no part is rounded on its own.
std::vector<int64_t> divide(int64_t amount, const std::vector<HourShare>& shares) {
  Wide length = 0;
  for (const HourShare& share : shares) length += share.nanoseconds;
  std::vector<int64_t> parts(shares.size(), 0);
  if (length == 0) {
    parts.back() = amount;
    return parts;
  }
  Wide passed = 0;
  int64_t given = 0;
  for (size_t i = 0; i < shares.size(); ++i) {
    passed += shares[i].nanoseconds;
    const auto reached = static_cast<int64_t>(Wide{amount} * passed / length);
    parts[i] = reached - given;
    given = reached;
  }
  return parts;
}

}  // namespace holm::quotas
