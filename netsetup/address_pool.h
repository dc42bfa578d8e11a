// Which container has which addresses of the nat network: on disk, so that they stay over restarts and
// reboots.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/lease_directory.h"
#include "netsetup/nic_spec.h"

namespace holm::netsetup {

// An address is a host part ("slot") of the bridge's subnets: 10.0.3.7 and fd00::7 are slot 7, and both
// belong to the one container that leases it. Owners are containers' names.
class AddressPool {
 public:
  // `directory` is the leases'; the gateways carry their subnets' prefix lengths.
  AddressPool(std::string directory, const InterfaceAddress& gateway4,
              const std::optional<InterfaceAddress>& gateway6,
              Durability durability = Durability::survives_crash);

  // The addresses that `owner` has from now on: all requested ones, and one of each family that is not among
  // them. An owner that asks again gets what it has, as far as it fits. Throws where a requested address lies
  // outside of the subnet, is the network's, the host's or another owner's, or where no address is free.
  std::vector<InterfaceAddress> acquire(const std::string& owner,
                                        const std::vector<InterfaceAddress>& requested = {});

 private:
  uint32_t slot_of(const InterfaceAddress& requested) const;
  bool is_usable4(uint32_t slot) const;
  uint32_t lease_any(const std::string& owner);
  void lease(const std::string& owner, uint32_t slot, const InterfaceAddress& requested);

  LeaseDirectory leases_;
  Durability durability_;
  InterfaceAddress gateway4_;
  std::optional<InterfaceAddress> gateway6_;
};

// Gives back all that `owner` holds; nothing to do where it holds nothing.
void release_addresses(const std::string& directory, const std::string& owner);
void rename_address_owner(const std::string& directory, const std::string& from, const std::string& to);
// All held slots with their owners, for gc.
std::map<uint32_t, std::string> address_owners(const std::string& directory);

}  // namespace holm::netsetup
