#include "netsetup/nic_spec.h"

#include <arpa/inet.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/text.h"

namespace holm::netsetup {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// FNV-1a with a final mix: stable over builds and hosts, so that a container keeps its MAC address.
class StableHash {
 public:
  void add(uint8_t byte) { state_ = (state_ ^ byte) * 1099511628211ULL; }
  void add(uint32_t number) {
    for (int shift = 0; shift < 32; shift += 8) add(static_cast<uint8_t>(number >> shift));
  }
  uint64_t value() const {
    uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 33)) * 0xff51afd7ed558ccdULL;
    mixed = (mixed ^ (mixed >> 33)) * 0xc4ceb9fe1a85ec53ULL;
    return mixed ^ (mixed >> 33);
  }

 private:
  uint64_t state_ = 14695981039346656037ULL;
};

}  // namespace

std::optional<MacAddress> parse_mac(std::string_view text) {
  MacAddress mac;
  if (text.size() != 17) return std::nullopt;
  for (size_t i = 0; i < 6; ++i) {
    const int high = hex_digit(text[3 * i]);
    const int low = hex_digit(text[3 * i + 1]);
    if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':')) return std::nullopt;
    mac.bytes[i] = static_cast<uint8_t>(high * 16 + low);
  }
  const bool is_multicast = (mac.bytes[0] & 1) != 0;
  if (is_multicast || mac == MacAddress{}) return std::nullopt;
  return mac;
}

std::string format_mac(const MacAddress& mac) {
  const auto& b = mac.bytes;
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4], b[5]);
}

MacAddress derive_mac(std::string_view installation, uint32_t number, unsigned index) {
  StableHash hash;
  for (const char c : installation) hash.add(static_cast<uint8_t>(c));
  hash.add(number);
  hash.add(static_cast<uint32_t>(index));
  MacAddress mac;
  for (size_t i = 0; i < 6; ++i) mac.bytes[i] = static_cast<uint8_t>(hash.value() >> (8 * i));
  mac.bytes[0] = static_cast<uint8_t>((mac.bytes[0] & 0xfc) | 0x02);  // locally administered, unicast
  return mac;
}

std::optional<InterfaceAddress> parse_host_address(std::string_view text) {
  const std::string terminated(text);
  if (terminated.find('\0') != std::string::npos) return std::nullopt;
  InterfaceAddress address;
  address.family = text.find(':') == std::string_view::npos ? AF_INET : AF_INET6;
  address.prefix_length = address.family == AF_INET ? 32 : 128;
  if (::inet_pton(address.family, terminated.c_str(), address.bytes.data()) != 1) return std::nullopt;
  return address;
}

std::optional<InterfaceAddress> parse_interface_address(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  auto address = parse_host_address(text.substr(0, slash));
  const auto length = parse_unsigned(text.substr(slash + 1));
  if (!address || !length || *length > address->prefix_length) return std::nullopt;
  address->prefix_length = static_cast<unsigned>(*length);
  return address;
}

std::string format_host_address(const InterfaceAddress& address) {
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(address.family, address.bytes.data(), text, sizeof text);
  return text;
}

std::string format_interface_address(const InterfaceAddress& address) {
  return fmt::format("{}/{}", format_host_address(address), address.prefix_length);
}

bool is_link_local(const InterfaceAddress& address) {
  return address.family == AF_INET6 && address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0) == 0x80;
}

bool is_in_network(const InterfaceAddress& address, const InterfaceAddress& network) {
  if (address.family != network.family) return false;
  const size_t whole = network.prefix_length / 8;
  const unsigned rest = network.prefix_length % 8;
  if (std::memcmp(address.bytes.data(), network.bytes.data(), whole) != 0) return false;
  return rest == 0 || ((address.bytes[whole] ^ network.bytes[whole]) >> (8 - rest)) == 0;
}

}  // namespace holm::netsetup
