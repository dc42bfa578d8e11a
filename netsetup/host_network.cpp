#include "netsetup/host_network.h"

#include <fmt/core.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/error.h"
#include "base/file_lock.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/undo.h"
#include "netsetup/firewall.h"
#include "netsetup/netlink.h"
#include "netsetup/subnet.h"
#include "netsetup/subnet_file.h"
#include "netsetup/sysctl.h"

namespace holm::netsetup {
namespace {

constexpr unsigned kDefaultMtu = 1500;
constexpr std::chrono::seconds kLockTimeout(30);

std::string subnet_file(const HostNetworkSettings& settings) { return settings.state_directory + "/network"; }

FileLock lock_network(const HostNetworkSettings& settings) {
  sys::make_directories(settings.state_directory, 0700);
  return FileLock::acquire(subnet_file(settings) + ".lock", kLockTimeout,
                           fmt::format("set up bridge '{}': another holm has been doing that for {} s",
                                       settings.bridge, kLockTimeout.count()));
}

FirewallPlan firewall_plan(const HostNetworkSettings& settings, const Subnets& subnets) {
  return {settings.table, settings.bridge, subnets.gateway4, subnets.gateway6};
}

InterfaceAddress gateway_of(const InterfaceAddress& subnet) {
  return host_part(subnet) == 0U ? with_host_part(subnet, 1) : subnet;
}

void check_subnet(const InterfaceAddress& subnet, int family, unsigned longest) {
  if (subnet.family == family && subnet.prefix_length >= 8 && subnet.prefix_length <= longest) return;
  throw usage_error(
      fmt::format("use '{}' as the nat network: an {} subnet with a prefix length of 8 to {} is needed",
                  format_interface_address(subnet), family == AF_INET ? "IPv4" : "IPv6", longest));
}

// --- what stands

bool has_address(const std::vector<LinkAddress>& addresses, const InterfaceAddress& wanted) {
  return std::ranges::any_of(addresses, [&](const auto& there) { return there.address == wanted; });
}

// The network where all of it stands; nothing where a part is missing.
std::optional<NatNetwork> find_standing(Netlink& netlink, const HostNetworkSettings& settings,
                                        const Subnets& subnets) {
  const auto bridge = netlink.find_link(settings.bridge);
  if (!bridge || bridge->kind != "bridge" || !bridge->is_up) return std::nullopt;
  const auto addresses = netlink.list_addresses(bridge->index);
  if (!has_address(addresses, subnets.gateway4) || !is_forwarding(AF_INET)) return std::nullopt;
  NatNetwork network{settings.bridge, subnets.gateway4, std::nullopt, bridge->mtu};
  if (has_address(addresses, subnets.gateway6)) {
    if (!is_forwarding(AF_INET6)) return std::nullopt;
    network.gateway6 = subnets.gateway6;
  } else if (has_ipv6()) {
    return std::nullopt;
  }
  if (!firewall_stands(firewall_plan(settings, subnets))) return std::nullopt;
  return network;
}

// What the host's settings make of the subnets that were chosen before.
Subnets with_settings(const HostNetworkSettings& settings, Subnets subnets) {
  if (settings.subnet4) subnets.gateway4 = gateway_of(*settings.subnet4);
  if (settings.subnet6) subnets.gateway6 = gateway_of(*settings.subnet6);
  return subnets;
}

std::optional<NatNetwork> find_standing(Netlink& netlink, const HostNetworkSettings& settings) {
  const auto stored = load_subnets(subnet_file(settings));
  if (!stored || with_settings(settings, *stored) != *stored) return std::nullopt;
  return find_standing(netlink, settings, *stored);
}

// --- the choice of subnets

InterfaceAddress choose_gateway6() {
  std::array<uint8_t, 7> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
    throw Error::system("choose a random IPv6 subnet");
  return unique_local_gateway6(random);
}

InterfaceAddress choose_gateway4(Netlink& netlink, const HostNetworkSettings& settings, int own_link) {
  std::vector<InterfaceAddress> occupied;
  for (const auto& [address, link] : netlink.list_addresses())
    if (link != own_link) occupied.push_back(address);
  for (const auto& [destination, link] : netlink.list_routes())
    if (link != own_link && destination.prefix_length != 0) occupied.push_back(destination);
  if (const auto gateway = pick_gateway4(settings.bridge, occupied)) return *gateway;
  Error error(
      "choose an IPv4 subnet for the nat network: each candidate overlaps with an address or a route of this "
      "host");
  error.hint("name a free one in the host's settings");
  throw error;
}

// First use chooses; a bridge that outlived its file (a state directory that was removed) keeps what it has,
// for the sake of the containers that are on it.
Subnets choose_subnets(Netlink& netlink, const HostNetworkSettings& settings,
                       const std::optional<Link>& bridge) {
  std::optional<InterfaceAddress> gateway4 = settings.subnet4;
  std::optional<InterfaceAddress> gateway6 = settings.subnet6;
  if (bridge)
    for (const auto& [address, link] : netlink.list_addresses(bridge->index)) {
      if (address.family == AF_INET && address.prefix_length <= 30 && !gateway4) gateway4 = address;
      if (address.family == AF_INET6 && address.prefix_length <= 96 && !is_link_local(address) && !gateway6)
        gateway6 = address;
    }
  if (!gateway4) gateway4 = choose_gateway4(netlink, settings, bridge ? bridge->index : 0);
  if (!gateway6) gateway6 = choose_gateway6();
  return {gateway_of(*gateway4), gateway_of(*gateway6)};
}

std::vector<std::string> ports_of(Netlink& netlink, const Link& bridge) {
  std::vector<std::string> ports;
  for (const Link& link : netlink.list_links(""))
    if (link.master == bridge.index) ports.push_back(link.name);
  return ports;
}

void refuse_change_in_use(Netlink& netlink, const Link& bridge, const Subnets& from, const Subnets& to) {
  const auto ports = ports_of(netlink, bridge);
  if (ports.empty()) return;
  const bool is_4 = from.gateway4 != to.gateway4;
  Error error(fmt::format("change the subnet of bridge '{}' from '{}' to '{}': {} containers are on it",
                          bridge.name, format_interface_address(is_4 ? from.gateway4 : from.gateway6),
                          format_interface_address(is_4 ? to.gateway4 : to.gateway6), ports.size()));
  error.hint("stop all containers first");
  throw error;
}

// The subnets to use, recorded before anything has them.
Subnets settle_subnets(Netlink& netlink, const HostNetworkSettings& settings) {
  const auto bridge = netlink.find_link(settings.bridge);
  const auto stored = load_subnets(subnet_file(settings));
  const Subnets subnets =
      stored ? with_settings(settings, *stored) : choose_subnets(netlink, settings, bridge);
  if (stored == subnets) return subnets;
  if (stored && bridge) {
    refuse_change_in_use(netlink, *bridge, *stored, subnets);
    netlink.delete_link(settings.bridge);  // with its old addresses
  }
  save_subnets(subnet_file(settings), subnets);
  return subnets;
}

// --- making

// Packets that the uplink cannot carry whole are better not made: the smallest MTU among the links of default
// routes.
unsigned uplink_mtu(Netlink& netlink) {
  unsigned mtu = 0;
  for (const auto& [destination, index] : netlink.list_routes()) {
    if (destination.prefix_length != 0 || index == 0) continue;
    const auto link = netlink.find_link(index);
    if (link && link->mtu >= 1280) mtu = mtu == 0 ? link->mtu : std::min(mtu, link->mtu);
  }
  return mtu == 0 ? kDefaultMtu : mtu;
}

// A bridge that is deleted lets its ports go, and running containers with them.
void return_ports(Netlink& netlink, const HostNetworkSettings& settings, const Link& bridge) {
  if (!settings.is_own_link) return;
  NetlinkBatch batch;
  for (const Link& link : netlink.list_links(""))
    if (link.kind == "veth" && link.master == 0 && settings.is_own_link(link.name))
      batch.set_bridge(link.name, bridge.index);
  netlink.apply(batch);
}

Link make_bridge(Netlink& netlink, const HostNetworkSettings& settings, UndoStack& undo) {
  if (const auto there = netlink.find_link(settings.bridge)) {
    if (there->kind == "bridge") return *there;
    Error error(
        fmt::format("make bridge '{}': a link of that name is there, and is no bridge", settings.bridge));
    error.hint(fmt::format("rename or remove it: ip link delete '{}'", settings.bridge));
    throw error;
  }
  NetlinkBatch batch;
  // A MAC of its own keeps the bridge from taking a port's, which would change as containers come and go. It
  // derives from the name alone, so that a container that migrates finds its gateway under the same MAC on
  // the other host.
  batch.make_bridge(settings.bridge, derive_mac(settings.bridge, 0, 0));
  batch.set_mtu(settings.bridge, uplink_mtu(netlink));
  netlink.apply(batch);
  undo.push(fmt::format("remove bridge '{}'", settings.bridge),
            [name = settings.bridge] { Netlink().delete_link(name); });
  const auto made = netlink.find_link(settings.bridge);
  if (!made) throw Error(fmt::format("make bridge '{}': it was removed meanwhile", settings.bridge));
  return_ports(netlink, settings, *made);
  return *made;
}

void configure_bridge(Netlink& netlink, const Link& bridge, const Subnets& subnets, bool use_ipv6) {
  NetlinkBatch batch;
  batch.add_address(bridge.index, subnets.gateway4);
  if (use_ipv6) {
    const std::string directory = "net/ipv6/conf/" + bridge.name;
    write_sysctl(directory + "/accept_ra", "0");   // a container must not become the host's router
    write_sysctl(directory + "/accept_dad", "0");  // the bridge's own addresses are not up to the containers
    batch.add_address(bridge.index, subnets.gateway6);
  }
  batch.set_up(bridge.name);
  netlink.apply(batch);
}

NatNetwork make_network(Netlink& netlink, const HostNetworkSettings& settings, UndoStack& undo) {
  const Subnets subnets =
      step("choose the network's subnets", [&] { return settle_subnets(netlink, settings); });
  const bool use_ipv6 = has_ipv6();
  const Link bridge = step("make the bridge", [&] { return make_bridge(netlink, settings, undo); });
  step("configure the bridge", [&] { configure_bridge(netlink, bridge, subnets, use_ipv6); });
  step("install the firewall", [&] {
    const FirewallPlan plan = firewall_plan(settings, subnets);
    if (firewall_stands(plan)) return;
    install_firewall(plan);
    undo.push(fmt::format("remove firewall table '{}'", plan.table),
              [table = plan.table] { remove_firewall(table); });
  });
  // After the firewall, so that nothing is passed on unfiltered.
  step("enable forwarding", [&] {
    enable_forwarding(AF_INET);
    if (use_ipv6) enable_forwarding(AF_INET6);
  });
  undo.dismiss();
  return {settings.bridge, subnets.gateway4, use_ipv6 ? std::optional(subnets.gateway6) : std::nullopt,
          bridge.mtu};
}

}  // namespace

NatNetwork ensure_nat_network(const HostNetworkSettings& settings) {
  if (settings.subnet4) check_subnet(*settings.subnet4, AF_INET, 30);
  if (settings.subnet6) check_subnet(*settings.subnet6, AF_INET6, 96);
  Netlink netlink;
  if (const auto network = find_standing(netlink, settings)) return *network;
  return with_frame("cannot set up the nat network", [&] {
    const FileLock lock = lock_network(settings);
    if (const auto network = find_standing(netlink, settings)) return *network;  // another process was faster
    return with_undo([&](UndoStack& undo) { return make_network(netlink, settings, undo); });
  });
}

Removal remove_nat_network(const HostNetworkSettings& settings) {
  const FileLock lock = lock_network(settings);
  Netlink netlink;
  const auto bridge = netlink.find_link(settings.bridge);
  const bool is_ours = bridge && bridge->kind == "bridge";
  if (is_ours) {
    if (!ports_of(netlink, *bridge).empty()) return Removal::still_in_use;
    netlink.delete_link(settings.bridge);
  }
  const bool had_table = remove_firewall(settings.table);
  return is_ours || had_table ? Removal::removed : Removal::nothing_there;
}

}  // namespace holm::netsetup
