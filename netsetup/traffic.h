// What went through the host's links.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace holm::netsetup {

struct LinkTraffic {
  uint64_t received_bytes = 0, received_packets = 0;
  uint64_t sent_bytes = 0, sent_packets = 0;
};

// The text of /proc/net/dev, by link. Lines that are none of a link are passed over.
std::map<std::string, LinkTraffic> parse_traffic(std::string_view text);
// All links of the calling process's network namespace, at one moment.
std::map<std::string, LinkTraffic> read_traffic();

// The other end of a pair: what one end sent, the other received.
LinkTraffic seen_from_peer(const LinkTraffic& traffic);

}  // namespace holm::netsetup
