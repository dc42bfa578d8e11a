#include "runtime/network_plan.h"

#include <fmt/core.h>

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
                             const netsetup::NatNetwork& network, const netsetup::NicSpec& nic,
                             std::vector<netsetup::InterfaceAddress> addresses) {
  const uint32_t number = container.identity.number;
  netsetup::LinkPlan link;
  link.host_name = installation.paths.veth(number);
  link.bridge = network.bridge;
  link.container_name = nic.name;
  link.mac = nic.mac.value_or(netsetup::derive_mac(installation.paths.installation(), number, 0));
  link.addresses = std::move(addresses);
  link.gateway4 = network.gateway4;
  link.gateway6 = network.gateway6;
  link.mtu = network.mtu;
  return link;
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
  for (const netsetup::NicSpec& nic : spec.networks) {
    if (nic.mode != netsetup::NicMode::nat) continue;
    const netsetup::NatNetwork network = netsetup::ensure_nat_network(host_network_settings(installation));
    netsetup::AddressPool pool(installation.paths.addresses(), network.gateway4, network.gateway6, container.durability);
    addresses = pool.acquire(container.name, nic.addresses);
    plan.links.push_back(plan_link(installation, container, network, nic, addresses));
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

void release_addresses(const Paths& paths, const std::string& name) {
  netsetup::release_addresses(paths.addresses(), name);
}

void rename_addresses(const Paths& paths, const std::string& from, const std::string& to) {
  netsetup::rename_address_owner(paths.addresses(), from, to);
}

}  // namespace holm::runtime
