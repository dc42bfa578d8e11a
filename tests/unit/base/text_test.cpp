#include <doctest/doctest.h>

#include <array>

#include "base/text.h"
#include "base/unit.h"

using namespace holm;

TEST_CASE("numbers that are not whole decimal numbers are refused, never rounded to something") {
  CHECK(parse_unsigned("42") == 42U);
  for (const char* bad : {"", "-1", "+1", " 1", "1 ", "0x10", "1e3", "18446744073709551616"})
    CHECK_FALSE(parse_unsigned(bad).has_value());
}

TEST_CASE("a misspelt key finds the one that was meant, an unrelated one finds none") {
  constexpr std::array<std::string_view, 3> keys = {"hostname", "template", "command"};
  CHECK(nearest("hostnme", keys) == "hostname");
  CHECK(nearest("templat", keys) == "template");
  CHECK_FALSE(nearest("zzzz", keys).has_value());
  // Swapped neighbours are one slip, also in a short word.
  constexpr std::string_view verbs[] = {"start", "stop", "list"};
  CHECK(nearest("strat", verbs) == "start");
  CHECK(nearest("lsit", verbs) == "list");
}

TEST_CASE("names are DNS labels") {
  CHECK(is_dns_label("web-1"));
  for (const char* bad : {"", "-a", "a-", "a.b", "a/b", "..", "a b", "ä"}) CHECK_FALSE(is_dns_label(bad));
  CHECK_FALSE(is_dns_label(std::string(64, 'a')));
}

TEST_CASE("sizes are powers of 1024 and nothing else passes for a size") {
  CHECK(parse_bytes("512M") == Bytes{512ULL << 20});
  CHECK(parse_bytes("1.5G") == Bytes{3ULL << 29});
  CHECK(parse_bytes("4096") == Bytes{4096});
  CHECK(parse_bytes("10KB") == Bytes{10240});
  CHECK(parse_bytes("2GiB") == Bytes{2ULL << 30});
  for (const char* bad : {"", "M", "-1", "1X", "1MM", "1.5", "9999999T", "1e3", "nan", "0x10"})
    CHECK_FALSE(parse_bytes(bad).has_value());
}

TEST_CASE("a rate is a size per second, and nothing else passes for one") {
  CHECK(parse_rate("50M/s") == Bytes{50 << 20});
  CHECK(parse_rate("50MB/s") == Bytes{50 << 20});
  CHECK(parse_rate("50MiB/s") == Bytes{50 << 20});
  CHECK(parse_rate("1.5G/s") == Bytes{3ULL << 29});
  CHECK(parse_rate("4096/s") == Bytes{4096});
  CHECK(parse_rate("0/s") == Bytes{0});
  for (const char* bad : {"", "/s", "s", "50M", "50M/", "50M/m", "50M/S", "50M/s ", "-1M/s", "50M/s/s", "M/s",
                          "50Mbit/s", "1.5/s", "9223372036854775808/s"})
    CHECK_MESSAGE(!parse_rate(bad).has_value(), bad);
}

TEST_CASE("sizes are printed as people write them") {
  CHECK(format_bytes(Bytes{64ULL << 20}) == "64M");
  CHECK(describe_bytes(Bytes{64ULL << 20}) == "64 MiB");
  CHECK(format_bytes(Bytes{1000}) == "1000");
}

TEST_CASE("text from a container cannot move the terminal's cursor") {
  CHECK(printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\x0a");
}
