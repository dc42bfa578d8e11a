#include <fmt/core.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include <utility>

#include "base/error.h"
#include "netsetup/netlink.h"
#include "netsetup/subnet.h"

namespace holm::netsetup {
namespace {

template <auto Function>
struct Deleter {
  template <class T>
  void operator()(T* object) const {
    Function(object);
  }
};
using RouteLink = std::unique_ptr<rtnl_link, Deleter<rtnl_link_put>>;
using RouteAddress = std::unique_ptr<rtnl_addr, Deleter<rtnl_addr_put>>;
using RouteRoute = std::unique_ptr<rtnl_route, Deleter<rtnl_route_put>>;
using Address = std::unique_ptr<nl_addr, Deleter<nl_addr_put>>;

constexpr const char* kBuilding = "build a netlink message";

template <class Owner>
Owner not_null(typename Owner::pointer object) {
  if (!object) throw Error(fmt::format("{}: out of memory", kBuilding));
  return Owner(object);
}

Address to_nl(const MacAddress& mac) {
  return not_null<Address>(nl_addr_build(AF_LLC, mac.bytes.data(), mac.bytes.size()));
}

Address to_nl(const InterfaceAddress& address) {
  const size_t size = address.family == AF_INET ? 4 : 16;
  Address out = not_null<Address>(nl_addr_build(address.family, address.bytes.data(), size));
  nl_addr_set_prefixlen(out.get(), static_cast<int>(address.prefix_length));
  return out;
}

// The kernel itself says no more than "Numerical result out of range".
void check_name(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ)
    throw Error(fmt::format("name a link '{}': a link's name has 1 to {} characters", name, IFNAMSIZ - 1));
}

RouteLink named_link(const std::string& name) {
  check_name(name);
  RouteLink link = not_null<RouteLink>(rtnl_link_alloc());
  rtnl_link_set_name(link.get(), name.c_str());
  return link;
}

// RTM_NEWLINK makes a link with NLM_F_CREATE and changes one without.
Message link_message(rtnl_link* link, int flags) {
  return build_message([&](nl_msg** out) { return rtnl_link_build_add_request(link, flags, out); });
}

void require(bool fits) {
  if (!fits) throw Error(fmt::format("{}: message too long", kBuilding));
}

RouteAddress route_address(int link_index, const InterfaceAddress& address) {
  RouteAddress out = not_null<RouteAddress>(rtnl_addr_alloc());
  rtnl_addr_set_ifindex(out.get(), link_index);
  check_nl(rtnl_addr_set_local(out.get(), to_nl(address).get()), kBuilding);
  return out;
}

}  // namespace

void NetlinkBatch::push(Message message, std::string action) {
  requests_.push_back({std::move(message), std::move(action)});
}

void NetlinkBatch::make_veth(const VethPair& pair) {
  check_name(pair.name);
  check_name(pair.peer_name);
  const auto veth =
      not_null<std::unique_ptr<rtnl_link, Deleter<rtnl_link_veth_release>>>(rtnl_link_veth_alloc());
  rtnl_link* const host_end = veth.get();
  rtnl_link* const inner_end = rtnl_link_veth_get_peer(host_end);  // with a reference of its own
  const RouteLink inner_end_reference(inner_end);
  rtnl_link_set_name(host_end, pair.name.c_str());
  rtnl_link_set_name(inner_end, pair.peer_name.c_str());
  rtnl_link_set_addr(inner_end, to_nl(pair.peer_mac).get());
  rtnl_link_set_ns_fd(inner_end, pair.peer_namespace);
  if (pair.bridge_index != 0) rtnl_link_set_master(host_end, pair.bridge_index);
  for (rtnl_link* end : {host_end, inner_end}) {
    if (pair.mtu != 0) rtnl_link_set_mtu(end, pair.mtu);
    // The default is a queue per CPU, of which veth needs none but the first.
    rtnl_link_set_num_tx_queues(end, 1);
    rtnl_link_set_num_rx_queues(end, 1);
  }
  push(link_message(host_end, NLM_F_CREATE | NLM_F_EXCL), fmt::format("make veth pair '{}'", pair.name));
}

void NetlinkBatch::make_bridge(const std::string& name, const MacAddress& mac) {
  const RouteLink link = named_link(name);
  rtnl_link_set_addr(link.get(), to_nl(mac).get());
  Message message = link_message(link.get(), NLM_F_CREATE | NLM_F_EXCL);
  // By hand: libnl-route knows no options of bridges.
  nlattr* info = nla_nest_start(message.get(), IFLA_LINKINFO);
  require(info && nla_put_string(message.get(), IFLA_INFO_KIND, "bridge") == 0);
  nlattr* data = nla_nest_start(message.get(), IFLA_INFO_DATA);
  require(data && nla_put_u32(message.get(), IFLA_BR_FORWARD_DELAY, 0) == 0 &&
          nla_put_u32(message.get(), IFLA_BR_STP_STATE, 0) == 0 &&
          nla_put_u8(message.get(), IFLA_BR_MCAST_SNOOPING, 0) == 0);
  nla_nest_end(message.get(), data);
  nla_nest_end(message.get(), info);
  push(std::move(message), fmt::format("make bridge '{}'", name));
}

void NetlinkBatch::set_mtu(const std::string& name, unsigned mtu) {
  const RouteLink link = named_link(name);
  rtnl_link_set_mtu(link.get(), mtu);
  push(link_message(link.get(), 0), fmt::format("set the MTU of link '{}' to {}", name, mtu));
}

void NetlinkBatch::set_up(const std::string& name) {
  const RouteLink link = named_link(name);
  rtnl_link_set_flags(link.get(), IFF_UP);
  push(link_message(link.get(), 0), fmt::format("set link '{}' up", name));
}

void NetlinkBatch::set_mac(const std::string& name, const MacAddress& mac) {
  const RouteLink link = named_link(name);
  rtnl_link_set_addr(link.get(), to_nl(mac).get());
  push(link_message(link.get(), 0), fmt::format("set the MAC of link '{}'", name));
}

void NetlinkBatch::set_bridge(const std::string& name, int bridge_index) {
  const RouteLink link = named_link(name);
  rtnl_link_set_master(link.get(), bridge_index);
  push(link_message(link.get(), 0), bridge_index != 0
                                        ? fmt::format("put link '{}' into its bridge", name)
                                        : fmt::format("take link '{}' out of its bridge", name));
}

void NetlinkBatch::make_deaf(const std::string& name) {
  constexpr uint32_t kForNoAddress = 8, kStrict = 1;  // ip-sysctl: arp_ignore, rp_filter
  const RouteLink link = named_link(name);
  Message message = link_message(link.get(), 0);
  nlattr* families = nla_nest_start(message.get(), IFLA_AF_SPEC);
  nlattr* inet = families ? nla_nest_start(message.get(), AF_INET) : nullptr;
  nlattr* settings = inet ? nla_nest_start(message.get(), IFLA_INET_CONF) : nullptr;
  require(settings && nla_put_u32(message.get(), IPV4_DEVCONF_ARP_IGNORE, kForNoAddress) == 0 &&
          nla_put_u32(message.get(), IPV4_DEVCONF_RP_FILTER, kStrict) == 0);
  nla_nest_end(message.get(), settings);
  nla_nest_end(message.get(), inet);
  nlattr* inet6 = nla_nest_start(message.get(), AF_INET6);
  require(inet6 && nla_put_u8(message.get(), IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE) == 0);
  nla_nest_end(message.get(), inet6);
  nla_nest_end(message.get(), families);
  push(std::move(message), fmt::format("keep link '{}' from the host", name));
}

void NetlinkBatch::delete_link(const std::string& name) {
  const RouteLink link = named_link(name);
  push(build_message([&](nl_msg** out) { return rtnl_link_build_delete_request(link.get(), out); }),
       fmt::format("delete link '{}'", name));
}

void NetlinkBatch::add_address(int link_index, const InterfaceAddress& address) {
  const RouteAddress route = route_address(link_index, address);
  if (address.family == AF_INET6) {
    rtnl_addr_set_flags(route.get(), IFA_F_NODAD);
  } else if (address.prefix_length < 31) {
    InterfaceAddress broadcast = with_host_part(address, last_host_part(address) + 1);
    broadcast.prefix_length = 32;
    check_nl(rtnl_addr_set_broadcast(route.get(), to_nl(broadcast).get()), kBuilding);
  }
  push(build_message([&](nl_msg** out) {
         return rtnl_addr_build_add_request(route.get(), NLM_F_CREATE | NLM_F_REPLACE, out);
       }),
       fmt::format("add address '{}' to link {}", format_interface_address(address), link_index));
}

void NetlinkBatch::remove_address(int link_index, const InterfaceAddress& address) {
  const RouteAddress route = route_address(link_index, address);
  push(build_message([&](nl_msg** out) { return rtnl_addr_build_delete_request(route.get(), 0, out); }),
       fmt::format("remove address '{}' from link {}", format_interface_address(address), link_index));
}

void NetlinkBatch::add_default_route(int link_index, const InterfaceAddress& gateway) {
  InterfaceAddress anywhere;
  anywhere.family = gateway.family;
  InterfaceAddress hop = gateway;
  hop.prefix_length = gateway.family == AF_INET ? 32 : 128;

  const RouteRoute route = not_null<RouteRoute>(rtnl_route_alloc());
  check_nl(rtnl_route_set_family(route.get(), static_cast<uint8_t>(gateway.family)), kBuilding);
  check_nl(rtnl_route_set_dst(route.get(), to_nl(anywhere).get()), kBuilding);
  rtnl_route_set_scope(route.get(), RT_SCOPE_UNIVERSE);
  rtnl_route_set_protocol(route.get(), RTPROT_STATIC);
  auto next = not_null<std::unique_ptr<rtnl_nexthop, Deleter<rtnl_route_nh_free>>>(rtnl_route_nh_alloc());
  rtnl_route_nh_set_ifindex(next.get(), link_index);
  rtnl_route_nh_set_gateway(next.get(), to_nl(hop).get());
  rtnl_route_add_nexthop(route.get(), next.release());
  push(build_message([&](nl_msg** out) {
         return rtnl_route_build_add_request(route.get(), NLM_F_CREATE | NLM_F_REPLACE, out);
       }),
       fmt::format("add default route by '{}'", format_host_address(gateway)));
}

}  // namespace holm::netsetup
