#include "netsetup/subnet.h"

#include <sys/socket.h>

#include <algorithm>

namespace holm::netsetup {
namespace {

struct Range {
  uint8_t first;
  uint8_t second_from;
  uint8_t second_to;
  uint8_t third_from;
  uint8_t third_to;
};

// Left out: 10.0-15 (LXC 10.0.3.0/24, clouds), 10.88-89 (podman), 10.96 and 10.244 (Kubernetes), 172.17-27
// (Docker and its pools), 192.168.0-199 (home routers, libvirt's 192.168.122.0/24), 100.64.0.0/10 (carriers,
// Tailscale).
constexpr Range kCandidates[] = {
    {10, 160, 223, 0, 255},
    {172, 28, 31, 0, 255},
    {192, 168, 168, 200, 254},
};

constexpr unsigned kPreferred = 64 * 256;  // the first range

size_t byte_count(int family) { return family == AF_INET ? 4 : 16; }

uint32_t fnv1a(std::string_view text) {
  uint32_t hash = 2166136261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash ^ (hash >> 16);
}

InterfaceAddress gateway_of(uint8_t first, unsigned second, unsigned third) {
  InterfaceAddress address;
  address.family = AF_INET;
  address.prefix_length = 24;
  address.bytes = {first, static_cast<uint8_t>(second), static_cast<uint8_t>(third), 1};
  return address;
}

}  // namespace

InterfaceAddress network_of(const InterfaceAddress& address) {
  InterfaceAddress network = address;
  for (size_t i = 0; i < byte_count(address.family); ++i) {
    const int kept = std::clamp(static_cast<int>(address.prefix_length) - static_cast<int>(8 * i), 0, 8);
    network.bytes[i] = static_cast<uint8_t>(network.bytes[i] & (0xff00 >> kept));
  }
  return network;
}

std::optional<uint32_t> host_part(const InterfaceAddress& address) {
  const InterfaceAddress network = network_of(address);
  const size_t size = byte_count(address.family);
  uint32_t host = 0;
  for (size_t i = 0; i < size; ++i) {
    const auto bits = static_cast<uint8_t>(address.bytes[i] ^ network.bytes[i]);
    if (i + 4 < size && bits != 0) return std::nullopt;
    host = (host << 8) | bits;
  }
  return host;
}

InterfaceAddress with_host_part(const InterfaceAddress& network, uint32_t host) {
  InterfaceAddress address = network_of(network);
  const size_t size = byte_count(address.family);
  for (size_t i = 0; i < 4; ++i)
    address.bytes[size - 1 - i] = static_cast<uint8_t>(address.bytes[size - 1 - i] | (host >> (8 * i)));
  return address;
}

uint32_t last_host_part(const InterfaceAddress& network4) {
  const uint64_t size = uint64_t{1} << (32 - std::min(network4.prefix_length, 32U));
  return size < 4 ? 0 : static_cast<uint32_t>(size - 2);
}

bool overlaps(const InterfaceAddress& one, const InterfaceAddress& other) {
  return one.prefix_length <= other.prefix_length ? is_in_network(other, one) : is_in_network(one, other);
}

std::optional<InterfaceAddress> pick_gateway4(std::string_view name,
                                              std::span<const InterfaceAddress> occupied) {
  const auto is_free = [&](const InterfaceAddress& candidate) {
    return std::ranges::none_of(occupied, [&](const auto& other) { return overlaps(candidate, other); });
  };
  const uint32_t start = fnv1a(name) % kPreferred;
  for (uint32_t i = 0; i < kPreferred; ++i) {
    const uint32_t index = (start + i) % kPreferred;
    const auto candidate =
        gateway_of(kCandidates[0].first, kCandidates[0].second_from + index / 256, index % 256);
    if (is_free(candidate)) return candidate;
  }
  for (const Range& range : std::span(kCandidates).subspan(1))
    for (unsigned second = range.second_from; second <= range.second_to; ++second)
      for (unsigned third = range.third_from; third <= range.third_to; ++third)
        if (const auto candidate = gateway_of(range.first, second, third); is_free(candidate))
          return candidate;
  return std::nullopt;
}

InterfaceAddress unique_local_gateway6(const std::array<uint8_t, 7>& random) {
  InterfaceAddress address;
  address.family = AF_INET6;
  address.prefix_length = 64;
  address.bytes[0] = 0xfd;
  std::ranges::copy(random, address.bytes.begin() + 1);
  address.bytes[15] = 1;
  return address;
}

}  // namespace holm::netsetup
