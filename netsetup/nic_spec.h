// A container's network interfaces: the network slice of the spec.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace holm::netsetup {

enum class NicMode {
  nat,
  host,
  none
};  // bridge, routed, macvlan and phys come later and are refused by name

struct MacAddress {
  std::array<uint8_t, 6> bytes{};
  bool operator==(const MacAddress&) const = default;
};
// "02:00:00:00:00:01"; nothing where it is not an address that an interface can have (multicast, all zero).
std::optional<MacAddress> parse_mac(std::string_view text);
std::string format_mac(const MacAddress& mac);
// Locally administered unicast and stable for (installation, number, index).
MacAddress derive_mac(std::string_view installation, uint32_t number, unsigned index);

// An address with its prefix length: "10.0.3.10/24", "fd00::10/64".
struct InterfaceAddress {
  int family = 0;                   // AF_INET or AF_INET6
  std::array<uint8_t, 16> bytes{};  // the first 4 for AF_INET
  unsigned prefix_length = 0;
  bool operator==(const InterfaceAddress&) const = default;
};
std::optional<InterfaceAddress> parse_interface_address(
    std::string_view text);                                                 // the prefix length is required
std::optional<InterfaceAddress> parse_host_address(std::string_view text);  // without prefix: /32, /128
std::string format_interface_address(const InterfaceAddress& address);      // "10.0.3.10/24"
std::string format_host_address(const InterfaceAddress& address);           // "10.0.3.10"
// fe80::/10: of one link, and known nowhere else.
bool is_link_local(const InterfaceAddress& address);
// True where `address` lies in the network of `network` (its prefix length counts).
bool is_in_network(const InterfaceAddress& address, const InterfaceAddress& network);

struct NicSpec {
  NicMode mode = NicMode::nat;
  std::string name = "eth0";                // inside the container
  std::optional<MacAddress> mac;            // nothing: derived
  std::vector<InterfaceAddress> addresses;  // empty: from the pool
};

}  // namespace holm::netsetup
