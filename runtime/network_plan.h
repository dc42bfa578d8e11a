// From a container's NicSpecs to links: addresses, names, and the texts that go with them.
#pragma once

#include <string>
#include <vector>

#include "netsetup/container_link.h"
#include "netsetup/host_network.h"
#include "runtime/container_store.h"
#include "runtime/init.h"

namespace holm::runtime {

struct NetworkPlan {
  std::vector<netsetup::LinkPlan> links;  // one per nat interface
  std::vector<std::string> addresses;     // "10.0.3.10", "fd00::10"
  std::vector<NameFile> name_files;       // resolv.conf, hosts, hostname
};

netsetup::HostNetworkSettings host_network_settings(const Installation& installation);

// Makes the host's side of the nat network where it is needed, and reserves this container's addresses.
NetworkPlan plan_network(const Installation& installation, const StoredContainer& container);

// The container behind an owner in the address pool: each of its interfaces is an owner of its own.
std::string container_of_address_owner(const std::string& owner);
void release_addresses(const Paths& paths, const std::string& name);
void rename_addresses(const Paths& paths, const std::string& from, const std::string& to);

}  // namespace holm::runtime
