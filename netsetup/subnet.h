// Arithmetic on subnets, without a kernel: hosts of a network, overlaps, and the choice of free ones.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "netsetup/nic_spec.h"

namespace holm::netsetup {

// The address with all bits after the prefix cleared: "10.0.3.10/24" -> "10.0.3.0/24".
InterfaceAddress network_of(const InterfaceAddress& address);
// The bits after the prefix as a number; nothing where they exceed 32 bits (an IPv6 address far up in its
// network).
std::optional<uint32_t> host_part(const InterfaceAddress& address);
InterfaceAddress with_host_part(const InterfaceAddress& network, uint32_t host);
// The highest host part that a host of this IPv4 network may have; the one above is the broadcast address.
uint32_t last_host_part(const InterfaceAddress& network4);
bool overlaps(const InterfaceAddress& one, const InterfaceAddress& other);

// The first address of a private IPv4 /24 that overlaps with nothing in `occupied`; nothing where all
// candidates do. The search starts at a place that `name` decides: two hosts find the same network for one
// name (so that a migrated container keeps its address), two names on one host find different ones.
std::optional<InterfaceAddress> pick_gateway4(std::string_view name,
                                              std::span<const InterfaceAddress> occupied);
// "fdXX:XXXX:XXXX:XXXX::1/64" of 7 random bytes (RFC 4193).
InterfaceAddress unique_local_gateway6(const std::array<uint8_t, 7>& random);

}  // namespace holm::netsetup
