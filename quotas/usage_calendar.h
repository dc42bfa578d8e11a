// Hours, days and months of UTC, by which usage is kept.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace holm::quotas {

enum class Span { hour, day, month };
const char* span_name(Span span);

// Seconds since the epoch. The begin of the period that a moment is in, and that of the next period.
int64_t begin_of(Span span, int64_t moment);
int64_t end_of(Span span, int64_t moment);
// The begin of the month that is `months` before the one that the moment is in.
int64_t months_before(int64_t moment, int64_t months);

// "2026-11-20T14:00Z"; of a day or a month "2026-11-20", "2026-11".
std::string format_moment(int64_t moment);
std::string format_period(Span span, int64_t begin);

// A moment as a person writes it, all of it UTC: "2026-11", "2026-11-20", "2026-11-20T14:00" (with or without
// a Z), "now", "today", "yesterday", or a time ago: "90m", "24h", "7d". Nothing where it is none of these.
std::optional<int64_t> parse_moment(std::string_view text, int64_t now);
inline constexpr const char* kMomentForms =
    "a month 2026-11, a day 2026-11-20, a time 2026-11-20T14:00 (UTC), now, today, yesterday, or how long "
    "ago: "
    "24h, 7d";

// An interval's part in one hour.
struct HourShare {
  int64_t hour = 0;         // its begin, seconds since the epoch
  int64_t nanoseconds = 0;  // of the interval, that are in it
};
// At least one share; their nanoseconds sum to `length`. `until`: nanoseconds since the epoch.
std::vector<HourShare> split_by_hour(int64_t until, int64_t length);
// An amount over the shares, in proportion; the parts sum to the amount exactly.
std::vector<int64_t> divide(int64_t amount, const std::vector<HourShare>& shares);

}  // namespace holm::quotas
