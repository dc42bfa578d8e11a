// Quantities with their units: bytes and the way people write them.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace holm {

// A number of bytes.
struct Bytes {
  uint64_t count = 0;
  auto operator<=>(const Bytes&) const = default;
};

// "512M", "1G", "4096", "1.5G": K M G T are powers of 1024, an optional final "B" or "iB" is allowed.
// Nothing where the text is not a size or exceeds 2^63-1.
std::optional<Bytes> parse_bytes(std::string_view text);
// "50M/s", "50MB/s", "1000/s": a size as above and "/s", as bytes per second.
std::optional<Bytes> parse_rate(std::string_view text);

// The shortest exact form with a unit, else one decimal: "64M", "1.5G", "4095". For people.
std::string format_bytes(Bytes bytes);
// As in messages: "64 MiB", "4095 B".
std::string describe_bytes(Bytes bytes);

// "10", "10s", "500ms", "2m", "1h" as a duration; a bare number is seconds.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);
// "3s", "5m", "2h 4m", "3d 2h": for people.
std::string format_duration(std::chrono::seconds duration);

}  // namespace holm
