#include "netsetup/address_pool.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "netsetup/subnet.h"

namespace holm::netsetup {
namespace {

std::set<uint32_t> slots_of(const LeaseDirectory& leases, const std::string& owner) {
  std::set<uint32_t> slots;
  for (const auto& [slot, holder] : leases.holders())
    if (holder == owner) slots.insert(slot);
  return slots;
}

std::string describe_network(const InterfaceAddress& gateway) {
  return format_interface_address(network_of(gateway));
}

Error refuse(const InterfaceAddress& requested, std::string_view why) {
  return usage_error(fmt::format("use address '{}': {}", format_interface_address(requested), why));
}

}  // namespace

AddressPool::AddressPool(std::string directory, const InterfaceAddress& gateway4,
                         const std::optional<InterfaceAddress>& gateway6, Durability durability)
    : leases_(std::move(directory)), durability_(durability), gateway4_(gateway4), gateway6_(gateway6) {}

bool AddressPool::is_usable4(uint32_t slot) const {
  return slot >= 1 && slot <= last_host_part(gateway4_) && slot != host_part(gateway4_);
}

uint32_t AddressPool::slot_of(const InterfaceAddress& requested) const {
  if (requested.family == AF_INET6 && !gateway6_) throw refuse(requested, "this host has no IPv6");
  const InterfaceAddress& gateway = requested.family == AF_INET ? gateway4_ : *gateway6_;
  if (!is_in_network(requested, gateway) || requested.prefix_length != gateway.prefix_length)
    throw refuse(requested, fmt::format("the nat network is '{}'", describe_network(gateway)))
        .hint(fmt::format("give an address of it with its prefix length '/{}', or leave 'addresses' out",
                          gateway.prefix_length));
  const auto slot = host_part(requested);
  if (!slot)
    throw refuse(requested, "the part after the prefix exceeds 32 bits")
        .hint("choose a lower address of the network");
  if (*slot == 0) throw refuse(requested, "it is the network's own");
  if (slot == host_part(gateway)) throw refuse(requested, "it is the host's, and the containers' gateway");
  if (requested.family == AF_INET && !is_usable4(*slot))
    throw refuse(requested, "it is the network's broadcast address");
  return *slot;
}

uint32_t AddressPool::lease_any(const std::string& owner) {
  const uint32_t gateway = host_part(gateway4_).value_or(0);
  auto slot = gateway > 1 ? leases_.acquire(owner, 1, gateway - 1, std::nullopt, durability_) : std::nullopt;
  if (!slot) slot = leases_.acquire(owner, gateway + 1, last_host_part(gateway4_), std::nullopt, durability_);
  if (slot) return *slot;
  Error error(fmt::format("take an address of '{}' for '{}': all {} are held", describe_network(gateway4_),
                          owner, last_host_part(gateway4_) - 1));
  error.hint(
      "destroy containers that are not needed, or give the nat network a larger subnet in the host's "
      "settings");
  throw error;
}

void AddressPool::lease(const std::string& owner, uint32_t slot, const InterfaceAddress& requested) {
  if (leases_.acquire(owner, slot, slot, std::nullopt, durability_)) return;
  const auto holders = leases_.holders();
  const auto holder = holders.find(slot);
  if (holder != holders.end() && holder->second == owner) return;
  throw Error(fmt::format("use address '{}': container '{}' holds it", format_interface_address(requested),
                          holder == holders.end() ? "?" : holder->second));
}

std::vector<InterfaceAddress> AddressPool::acquire(const std::string& owner,
                                                   const std::vector<InterfaceAddress>& requested) {
  // All is checked before anything is taken.
  std::map<uint32_t, InterfaceAddress> wanted;
  for (const InterfaceAddress& address : requested) wanted.emplace(slot_of(address), address);
  const auto has_family = [&](int family) {
    return std::ranges::any_of(requested, [&](const auto& address) { return address.family == family; });
  };

  const std::set<uint32_t> before = slots_of(leases_, owner);
  std::set<uint32_t> slots;
  try {
    for (const auto& [slot, address] : wanted) {
      if (!before.contains(slot)) lease(owner, slot, address);
      slots.insert(slot);
    }
    std::vector<InterfaceAddress> addresses = requested;
    if (!has_family(AF_INET) || (gateway6_ && !has_family(AF_INET6))) {
      // Both families share a slot wherever one fits.
      const auto fits = [&](uint32_t slot) {
        return is_usable4(slot) && (!gateway6_ || slot != host_part(*gateway6_));
      };
      auto shared = std::ranges::find_if(slots, fits);
      if (shared == slots.end()) {
        const auto held = std::ranges::find_if(before, fits);
        shared = slots.insert(held != before.end() ? *held : lease_any(owner)).first;
      }
      if (!has_family(AF_INET)) addresses.push_back(with_host_part(gateway4_, *shared));
      if (gateway6_ && !has_family(AF_INET6)) addresses.push_back(with_host_part(*gateway6_, *shared));
    }
    for (const uint32_t slot : before)
      if (!slots.contains(slot)) leases_.release(slot, owner);
    return addresses;
  } catch (const Error&) {
    for (const uint32_t slot : slots)
      if (!before.contains(slot)) leases_.release(slot, owner);
    throw;
  }
}

void release_addresses(const std::string& directory, const std::string& owner) {
  LeaseDirectory leases(directory);
  for (const uint32_t slot : slots_of(leases, owner)) leases.release(slot, owner);
}

void rename_address_owner(const std::string& directory, const std::string& from, const std::string& to) {
  LeaseDirectory leases(directory);
  for (const uint32_t slot : slots_of(leases, from)) leases.rename_owner(slot, to);
}

std::map<uint32_t, std::string> address_owners(const std::string& directory) {
  return LeaseDirectory(directory).holders();
}

}  // namespace holm::netsetup
