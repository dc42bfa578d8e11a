#include "netsetup/container_link.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "netsetup/netlink.h"
#include "netsetup/sysctl.h"

namespace holm::netsetup {
namespace {

int index_of_bridge(Netlink& netlink, const std::string& name) {
  if (name.empty()) return 0;
  const auto bridge = netlink.find_link(name);
  if (!bridge || bridge->kind != "bridge")
    throw Error(fmt::format("attach to bridge '{}': there is no such bridge", name));
  return bridge->index;
}

}  // namespace

void attach(const LinkPlan& plan, int network_namespace) {
  Netlink netlink;
  const int bridge = index_of_bridge(netlink, plan.bridge);
  NetlinkBatch batch;
  batch.make_veth({plan.host_name, bridge, plan.mtu, plan.container_name, plan.mac, network_namespace});
  batch.make_deaf(plan.host_name);
  batch.set_up(plan.host_name);
  try {
    netlink.apply(batch);
    // A second fence, as it has no IPv6 address: not worth a failure where /proc/sys is read-only.
    ignore_errors([&] { write_sysctl(fmt::format("net/ipv6/conf/{}/disable_ipv6", plan.host_name), "1"); });
  } catch (Error& error) {
    if (error.error_number() == EEXIST)
      error.hint("a link of that name is left over or in use: see 'holm gc'");
    else
      ignore_errors([&] { netlink.delete_link(plan.host_name); });  // the first error is the one to tell
    throw;
  }
}

void configure_inside(const LinkPlan& plan) {
  Netlink netlink;
  const auto link = netlink.find_link(plan.container_name);
  if (!link)
    throw Error(fmt::format("configure link '{}': it is not in the container's network namespace",
                            plan.container_name));
  // Addresses and routes are given, so advertisements could only come from a neighbour who means no good.
  const std::string accept_ra = fmt::format("net/ipv6/conf/{}/accept_ra", plan.container_name);
  const bool wants_ipv6 =
      std::ranges::any_of(plan.addresses, [](const auto& address) { return address.family == AF_INET6; });
  if (wants_ipv6) write_sysctl(accept_ra, "0");

  NetlinkBatch batch;
  batch.set_up("lo");
  batch.set_up(plan.container_name);
  for (const InterfaceAddress& address : plan.addresses) batch.add_address(link->index, address);
  for (const auto& gateway : {plan.gateway4, plan.gateway6})
    if (gateway) batch.add_default_route(link->index, *gateway);
  netlink.apply(batch);
}

std::vector<InterfaceAddress> renumber_inside(const LinkPlan& plan) {
  Netlink netlink;
  const auto link = netlink.find_link(plan.container_name);
  if (!link) throw Error(fmt::format("renumber link '{}': it is not there", plan.container_name));
  NetlinkBatch batch;
  std::vector<InterfaceAddress> removed;
  for (const LinkAddress& old : netlink.list_addresses(link->index)) {
    if (is_link_local(old.address)) continue;
    batch.remove_address(link->index, old.address);
    removed.push_back(old.address);
  }
  batch.set_mac(plan.container_name, plan.mac);
  for (const InterfaceAddress& address : plan.addresses) batch.add_address(link->index, address);
  for (const auto& gateway : {plan.gateway4, plan.gateway6})
    if (gateway) batch.add_default_route(link->index, *gateway);
  netlink.apply(batch);
  return removed;
}

void configure_loopback() {
  NetlinkBatch batch;
  batch.set_up("lo");
  Netlink().apply(batch);
}

void set_bridge(const std::string& host_name, const std::string& bridge) {
  Netlink netlink;
  if (!netlink.find_link(host_name)) return;
  NetlinkBatch batch;
  batch.set_bridge(host_name, index_of_bridge(netlink, bridge));
  netlink.apply(batch);
}

bool detach(const std::string& host_name) { return Netlink().delete_link(host_name); }

std::vector<HostLink> list_links(std::string_view prefix) {
  std::vector<HostLink> links;
  for (Link& link : Netlink().list_links(prefix))
    links.push_back({std::move(link.name), std::move(link.kind), link.index, link.traffic});
  return links;
}

}  // namespace holm::netsetup
