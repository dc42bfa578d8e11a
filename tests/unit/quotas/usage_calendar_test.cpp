// Hours, days and months of UTC, and how an interval is divided over them.
#include <doctest/doctest.h>

#include <numeric>
#include <random>

#include "quotas/usage_calendar.h"

using namespace holm::quotas;

namespace {

constexpr int64_t kSecond = 1'000'000'000;

int64_t at(const char* text) { return parse_moment(text, 0).value(); }

std::string shown(const std::optional<int64_t>& moment) { return moment ? format_moment(*moment) : "none"; }

}  // namespace

TEST_CASE("periods begin and end where the calendar says, also in leap years") {
  const int64_t moment = at("2028-02-29T13:59");
  CHECK(format_moment(begin_of(Span::hour, moment)) == "2028-02-29T13:00Z");
  CHECK(format_moment(end_of(Span::hour, moment)) == "2028-02-29T14:00Z");
  CHECK(format_moment(begin_of(Span::day, moment)) == "2028-02-29T00:00Z");
  CHECK(format_moment(end_of(Span::day, moment)) == "2028-03-01T00:00Z");
  CHECK(format_moment(begin_of(Span::month, moment)) == "2028-02-01T00:00Z");
  CHECK(format_moment(end_of(Span::month, moment)) == "2028-03-01T00:00Z");
  CHECK(format_moment(end_of(Span::month, at("2026-12-31"))) == "2027-01-01T00:00Z");
  CHECK(format_moment(months_before(moment, 14)) == "2026-12-01T00:00Z");
  CHECK(format_period(Span::month, moment) == "2028-02");
  CHECK(format_period(Span::day, moment) == "2028-02-29");
  CHECK(format_period(Span::hour, moment) == "2028-02-29T13:59Z");
}

TEST_CASE("a moment is taken in a few forms, and nothing else is") {
  const int64_t now = at("2026-11-20T14:35");
  const auto parsed = [&](const char* text) { return shown(parse_moment(text, now)); };
  CHECK(parsed("now") == "2026-11-20T14:35Z");
  CHECK(parsed("today") == "2026-11-20T00:00Z");
  CHECK(parsed("yesterday") == "2026-11-19T00:00Z");
  CHECK(parsed("24h") == "2026-11-19T14:35Z");
  CHECK(parsed("7d") == "2026-11-13T14:35Z");
  CHECK(parsed("90m") == "2026-11-20T13:05Z");
  CHECK(parsed("2026-11") == "2026-11-01T00:00Z");
  CHECK(parsed("2026-02-03") == "2026-02-03T00:00Z");
  CHECK(parsed("2026-02-03T04:05") == "2026-02-03T04:05Z");
  CHECK(parsed("2026-02-03T04:05Z") == "2026-02-03T04:05Z");
  for (const char* text : {"", "tomorrow", "2026", "2026-13", "2026-02-30", "2026-11T14:00", "2026-02-03T",
                           "2026-02-03T24:00", "2026-02-03T14:60", "2026-2-3", "-5h", "5", "h", "5w", "1e3h",
                           "2026-02-03 14:00", "1969-12", "2026-11-20T14:00+01:00", "99999999999999999999h"})
    CHECK_MESSAGE(parsed(text) == "none", text);
}

TEST_CASE("an interval is divided over its hours, and the parts sum to the whole") {
  const int64_t until = at("2026-11-20T14:15") * kSecond;
  const auto shares = split_by_hour(until, 90 * 60 * kSecond);
  REQUIRE(shares.size() == 3);
  CHECK(format_moment(shares[0].hour) == "2026-11-20T12:00Z");
  CHECK(shares[0].nanoseconds == 15 * 60 * kSecond);
  CHECK(shares[1].nanoseconds == 60 * 60 * kSecond);
  CHECK(shares[2].nanoseconds == 15 * 60 * kSecond);
  CHECK(divide(90, shares) == std::vector<int64_t>{15, 60, 15});
  CHECK(divide(1, shares) == std::vector<int64_t>{0, 0, 1});
  // An hour's last nanosecond is its own, and the next hour begins with the one after.
  const int64_t hour = at("2026-11-20T14:00") * kSecond;
  CHECK(split_by_hour(hour, 5).size() == 1);
  CHECK(split_by_hour(hour + 1, 5).size() == 2);
  CHECK(split_by_hour(hour, 0).size() == 1);
  CHECK(divide(7, split_by_hour(hour, 0)) == std::vector<int64_t>{7});

  std::mt19937_64 random(1);
  for (int round = 0; round < 2000; ++round) {
    const auto amount = static_cast<int64_t>(random() >> (random() % 63 + 1));
    const auto length = static_cast<int64_t>(random() % (400'000 * uint64_t{kSecond}));
    const auto parts = divide(amount, split_by_hour(until + static_cast<int64_t>(random() % 1000), length));
    REQUIRE(std::accumulate(parts.begin(), parts.end(), int64_t{0}) == amount);
    for (const int64_t part : parts) REQUIRE(part >= 0);
  }
}
