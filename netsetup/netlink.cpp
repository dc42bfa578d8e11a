#include "netsetup/netlink.h"

#include <fmt/core.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace holm::netsetup {
namespace {

InterfaceAddress from_nl(nl_addr* address, int family) {
  InterfaceAddress out;
  out.family = family;
  if (!address) return out;
  const auto size = std::min<size_t>(nl_addr_get_len(address), out.bytes.size());
  std::memcpy(out.bytes.data(), nl_addr_get_binary_addr(address), size);
  out.prefix_length = nl_addr_get_prefixlen(address);
  return out;
}

Link from_nl(rtnl_link* link) {
  const auto text = [](const char* value) { return std::string(value ? value : ""); };
  Link out;
  out.index = rtnl_link_get_ifindex(link);
  out.name = text(rtnl_link_get_name(link));
  out.kind = text(rtnl_link_get_type(link));
  out.mtu = rtnl_link_get_mtu(link);
  out.master = rtnl_link_get_master(link);
  out.is_up = (rtnl_link_get_flags(link) & IFF_UP) != 0;
  if (nl_addr* mac = rtnl_link_get_addr(link); mac && nl_addr_get_len(mac) == out.mac.bytes.size())
    std::memcpy(out.mac.bytes.data(), nl_addr_get_binary_addr(mac), out.mac.bytes.size());
  out.traffic = {rtnl_link_get_stat(link, RTNL_LINK_RX_BYTES), rtnl_link_get_stat(link, RTNL_LINK_RX_PACKETS),
                 rtnl_link_get_stat(link, RTNL_LINK_TX_BYTES),
                 rtnl_link_get_stat(link, RTNL_LINK_TX_PACKETS)};
  return out;
}

// Calls `use` with the object of libnl-route that a reply describes.
template <class Object, class Use>
NetlinkSocket::OnReply with_object(Use use) {
  return [use](nl_msg* message) {
    nl_msg_parse(
        message,
        [](nl_object* object, void* argument) {
          (*static_cast<const Use*>(argument))(reinterpret_cast<Object*>(object));
        },
        const_cast<void*>(static_cast<const void*>(&use)));
  };
}

template <class Header>
Message make_list_request(int type, const Header& header) {
  Message message = make_message(type, 0);
  check_nl(nlmsg_append(message.get(), const_cast<Header*>(&header), sizeof header, NLMSG_ALIGNTO),
           "build a netlink message");
  return message;
}

void throw_if(const std::optional<NetlinkFailure>& failure, std::string_view action) {
  if (failure) throw failure->to_error(action);
}

}  // namespace

Netlink::Netlink() : socket_(NETLINK_ROUTE) {}

void Netlink::apply(const NetlinkBatch& batch) {
  std::vector<nl_msg*> messages;
  for (const auto& request : batch.requests_) messages.push_back(request.message.get());
  if (const auto failure = socket_.change(messages))
    throw failure->to_error(batch.requests_[failure->request].action);
}

std::optional<Link> Netlink::get_link(int index, const char* name) {
  const std::string action =
      name ? fmt::format("look up link '{}'", name) : fmt::format("look up link {}", index);
  const Message request =
      build_message([&](nl_msg** out) { return rtnl_link_build_get_request(index, name, out); });
  std::optional<Link> found;
  const auto failure =
      socket_.get(request.get(), with_object<rtnl_link>([&](rtnl_link* link) { found = from_nl(link); }));
  if (failure && failure->error_number == ENODEV) return std::nullopt;
  throw_if(failure, action);
  return found;
}

std::optional<Link> Netlink::find_link(const std::string& name) { return get_link(0, name.c_str()); }
std::optional<Link> Netlink::find_link(int index) { return get_link(index, nullptr); }

bool Netlink::delete_link(const std::string& name) {
  NetlinkBatch batch;
  batch.delete_link(name);
  try {
    apply(batch);
  } catch (const Error& error) {
    if (error.error_number() == ENODEV) return false;
    throw;
  }
  return true;
}

std::vector<Link> Netlink::list_links(std::string_view prefix) {
  const Message request = make_list_request(RTM_GETLINK, ifinfomsg{});
  std::vector<Link> links;
  const auto failure = socket_.list(
      request.get(), [&] { links.clear(); }, with_object<rtnl_link>([&](rtnl_link* link) {
        const char* name = rtnl_link_get_name(link);
        if (name && std::string_view(name).starts_with(prefix)) links.push_back(from_nl(link));
      }));
  throw_if(failure, "list links");
  return links;
}

std::vector<LinkAddress> Netlink::list_addresses(int link_index) {
  ifaddrmsg header{};
  header.ifa_index = static_cast<unsigned>(link_index);  // the kernel's filter (since Linux 5.0)
  const Message request = make_list_request(RTM_GETADDR, header);
  std::vector<LinkAddress> addresses;
  const auto failure = socket_.list(
      request.get(), [&] { addresses.clear(); }, with_object<rtnl_addr>([&](rtnl_addr* address) {
        const int index = rtnl_addr_get_ifindex(address);
        nl_addr* local = rtnl_addr_get_local(address);
        if (!local || (link_index != 0 && index != link_index)) return;
        InterfaceAddress out = from_nl(local, rtnl_addr_get_family(address));
        out.prefix_length = static_cast<unsigned>(rtnl_addr_get_prefixlen(address));
        addresses.push_back({out, index});
      }));
  if (failure && failure->error_number == ENODEV) return {};
  throw_if(failure, "list addresses");
  return addresses;
}

std::vector<Route> Netlink::list_routes() {
  std::vector<Route> all;
  for (const int family : {AF_INET, AF_INET6}) {
    rtmsg header{};
    header.rtm_family = static_cast<unsigned char>(family);
    const Message request = make_list_request(RTM_GETROUTE, header);
    std::vector<Route> routes;
    const auto failure = socket_.list(
        request.get(), [&] { routes.clear(); }, with_object<rtnl_route>([&](rtnl_route* route) {
          const int type = rtnl_route_get_type(route);
          if (type == RTN_LOCAL || type == RTN_BROADCAST || type == RTN_ANYCAST || type == RTN_MULTICAST)
            return;
          rtnl_nexthop* hop = rtnl_route_get_nnexthops(route) > 0 ? rtnl_route_nexthop_n(route, 0) : nullptr;
          routes.push_back(
              {from_nl(rtnl_route_get_dst(route), family), hop ? rtnl_route_nh_get_ifindex(hop) : 0});
        }));
    if (failure && failure->error_number == EAFNOSUPPORT) continue;  // a kernel without IPv6
    throw_if(failure, "list routes");
    all.insert(all.end(), routes.begin(), routes.end());
  }
  return all;
}

}  // namespace holm::netsetup
