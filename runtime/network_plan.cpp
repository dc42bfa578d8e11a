#include "runtime/network_plan.h"

#include <fmt/core.h>

#include <set>

#include "base/file.h"
#include "base/text.h"
#include "netsetup/address_pool.h"
#include "netsetup/resolver.h"

namespace holm::runtime {
namespace {

std::string make_resolver_text(const Installation& installation) {
  netsetup::ResolverSources sources;
  for (const auto& server : installation.settings.nameservers)
    sources.nameservers.push_back(netsetup::format_host_address(server));
  sources.host = read_file_if_exists("/etc/resolv.conf").value_or("");
  sources.systemd_upstream = read_file_if_exists(netsetup::kSystemdUpstreamResolvConf);
  return netsetup::make_resolv_conf(sources);
}

netsetup::LinkPlan plan_link(const Installation& installation, const StoredContainer& container,
                             const netsetup::NatNetwork& network, unsigned index,
                             std::vector<netsetup::InterfaceAddress> addresses) {
  const netsetup::NicSpec& nic = container.config.spec.networks[index];
  const uint32_t number = container.identity.number;
  netsetup::LinkPlan link;
  link.host_name = installation.paths.veth(number, index);
  link.bridge = network.bridge;
  link.container_name = nic.name;
  link.mac = nic.mac.value_or(netsetup::derive_mac(installation.paths.installation(), number, index));
  link.addresses = std::move(addresses);
  if (index == 0) {  // one way out: all interfaces lead to the same bridge
    link.gateway4 = network.gateway4;
    link.gateway6 = network.gateway6;
  }
  link.mtu = network.mtu;
  return link;
}

// Who holds the addresses of an interface in the pool. A '.' is in no container's name.
std::string address_owner(const std::string& name, unsigned index) {
  return index == 0 ? name : fmt::format("{}.{}", name, index);
}

// The owners of a container's interfaces among those that hold addresses.
std::set<std::string> address_owners_of(const Paths& paths, const std::string& name) {
  std::set<std::string> owners;
  for (const auto& [slot, owner] : netsetup::address_owners(paths.addresses())) {
    if (container_of_address_owner(owner) == name) owners.insert(owner);
  }
  return owners;
}

}  // namespace

netsetup::HostNetworkSettings host_network_settings(const Installation& installation) {
  netsetup::HostNetworkSettings settings;
  settings.bridge = installation.paths.bridge();
  settings.table = installation.paths.firewall_table();
  settings.state_directory = installation.paths.state;
  settings.is_own_link = [paths = installation.paths](const std::string& link) {
    return paths.number_of_veth(link) >= 0;
  };
  settings.subnet4 = installation.settings.subnet;
  settings.subnet6 = installation.settings.subnet6;
  for (const auto& server : installation.settings.nameservers)
    settings.nameservers.push_back(netsetup::format_host_address(server));
  return settings;
}

NetworkPlan plan_network(const Installation& installation, const StoredContainer& container) {
  const ContainerSpec& spec = container.config.spec;
  NetworkPlan plan;
  std::vector<netsetup::InterfaceAddress> addresses;
  for (unsigned index = 0; index < spec.networks.size(); ++index) {
    if (spec.networks[index].mode != netsetup::NicMode::nat) continue;
    const netsetup::NatNetwork network = netsetup::ensure_nat_network(host_network_settings(installation));
    netsetup::AddressPool pool(installation.paths.addresses(), network.gateway4, network.gateway6,
                               container.durability);
    const auto acquired = pool.acquire(address_owner(container.name, index), spec.networks[index].addresses);
    addresses.insert(addresses.end(), acquired.begin(), acquired.end());
    plan.links.push_back(plan_link(installation, container, network, index, acquired));
  }
  for (const auto& address : addresses) plan.addresses.push_back(netsetup::format_host_address(address));
  const auto add = [&](const char* path, const std::string& text) {
    plan.name_files.push_back({path, std::string(kNameFileMark) + text});
  };
  if (spec.networks.front().mode != netsetup::NicMode::none)
    add("etc/resolv.conf", make_resolver_text(installation));
  add("etc/hosts", netsetup::make_hosts(spec.hostname, addresses));
  // An init takes its host name from this file, whatever the kernel was told.
  plan.name_files.push_back({"etc/hostname", spec.hostname + "\n", true});
  return plan;
}

std::string container_of_address_owner(const std::string& owner) { return owner.substr(0, owner.find('.')); }

void release_addresses(const Paths& paths, const std::string& name) {
  for (const std::string& owner : address_owners_of(paths, name))
    netsetup::release_addresses(paths.addresses(), owner);
}

void rename_addresses(const Paths& paths, const std::string& from, const std::string& to) {
  for (const std::string& owner : address_owners_of(paths, from))
    netsetup::rename_address_owner(paths.addresses(), owner, to + owner.substr(from.size()));
}

}  // namespace holm::runtime
