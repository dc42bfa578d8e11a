#include "netsetup/traffic.h"

#include <optional>
#include <vector>

#include "base/file.h"
#include "base/text.h"

namespace holm::netsetup {
namespace {

// Eight columns of what was received, then those of what was sent; each begins with bytes and packets.
constexpr size_t kReceived = 0;
constexpr size_t kSent = 8;

std::optional<LinkTraffic> parse_columns(std::string_view text) {
  const std::vector<std::string> words = split_words(text);
  if (words.size() < kSent + 2) return std::nullopt;
  LinkTraffic traffic;
  const auto take = [&](size_t column, uint64_t& value) {
    const auto number = parse_unsigned(words[column]);
    value = number.value_or(0);
    return number.has_value();
  };
  if (!take(kReceived, traffic.received_bytes) || !take(kReceived + 1, traffic.received_packets) ||
      !take(kSent, traffic.sent_bytes) || !take(kSent + 1, traffic.sent_packets))
    return std::nullopt;
  return traffic;
}

}  // namespace

std::map<std::string, LinkTraffic> parse_traffic(std::string_view text) {
  std::map<std::string, LinkTraffic> links;
  for (const std::string& line : split(text, '\n')) {
    const size_t colon = line.rfind(':');  // an alias has one in its name
    if (colon == std::string::npos) continue;
    const std::string_view view = line;
    if (const auto traffic = parse_columns(view.substr(colon + 1)))
      links[std::string(trim(view.substr(0, colon)))] = *traffic;
  }
  return links;
}

std::map<std::string, LinkTraffic> read_traffic() {
  return parse_traffic(read_file("/proc/self/net/dev", 16 * kMaxSmallFile));
}

LinkTraffic seen_from_peer(const LinkTraffic& traffic) {
  return {traffic.sent_bytes, traffic.sent_packets, traffic.received_bytes, traffic.received_packets};
}

}  // namespace holm::netsetup
