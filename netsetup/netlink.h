// Links, addresses and routes of a network namespace: the one place where libnl-route is used.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netsetup/netlink_socket.h"
#include "netsetup/nic_spec.h"
#include "netsetup/traffic.h"

namespace holm::netsetup {

struct Link {
  int index = 0;
  std::string name;
  std::string kind;  // "bridge", "veth"; empty for hardware
  MacAddress mac;
  unsigned mtu = 0;
  int master = 0;  // the bridge that it is a port of; 0: none
  bool is_up = false;
  Traffic traffic;
};

struct Route {
  InterfaceAddress destination;  // prefix length 0: the default route
  int link_index = 0;            // 0: none (unreachable, blackhole)
};

struct LinkAddress {
  InterfaceAddress address;
  int link_index = 0;
};

// A veth pair whose second end is born in another network namespace.
struct VethPair {
  std::string name;
  int bridge_index = 0;  // 0: not in a bridge
  unsigned mtu = 0;      // of both ends; 0: the kernel's default
  std::string peer_name;
  MacAddress peer_mac;
  int peer_namespace = -1;  // fd of the network namespace
};

// Changes that are sent to the kernel together (Netlink::apply). Links are named, so that a change can follow
// in the same batch on the link that an earlier one makes.
class NetlinkBatch {
 public:
  void make_veth(const VethPair& pair);
  // A bridge that forwards at once: without spanning tree and forward delay, and without multicast snooping,
  // which a port could abuse to take its neighbours' IPv6 away.
  void make_bridge(const std::string& name, const MacAddress& mac);
  // Also keeps the bridge's MTU from following its ports.
  void set_mtu(const std::string& name, unsigned mtu);
  void set_up(const std::string& name);
  void set_mac(const std::string& name, const MacAddress& mac);
  void set_bridge(const std::string& name, int bridge_index);  // 0: out of its bridge
  // The link is a bridge's port and no way to the host itself, also while it is out of the bridge: the host
  // answers no ARP there, takes no IPv4 from whom it has another route to, and gives it no link-local
  // address.
  void make_deaf(const std::string& name);
  void delete_link(const std::string& name);
  // Usable at once: without duplicate address detection. An address that is already there is fine.
  void add_address(int link_index, const InterfaceAddress& address);
  void remove_address(int link_index, const InterfaceAddress& address);
  void add_default_route(int link_index, const InterfaceAddress& gateway);

  bool is_empty() const { return requests_.empty(); }

 private:
  friend class Netlink;
  struct Request {
    Message message;
    std::string action;
  };
  void push(Message message, std::string action);

  std::vector<Request> requests_;
};

class Netlink {
 public:
  // Talks about the network namespace of the calling thread.
  Netlink();

  // One system call for all; throws the first refusal, after which the later changes have been tried, too.
  void apply(const NetlinkBatch& batch);

  std::optional<Link> find_link(const std::string& name);
  std::optional<Link> find_link(int index);
  // False where there is no such link.
  bool delete_link(const std::string& name);
  // All links whose name begins with `prefix`.
  std::vector<Link> list_links(std::string_view prefix);
  // All addresses, or those of one link.
  std::vector<LinkAddress> list_addresses(int link_index = 0);
  // Unicast routes of all tables, both families, without the kernel's routes to its own addresses.
  std::vector<Route> list_routes();

 private:
  std::optional<Link> get_link(int index, const char* name);

  NetlinkSocket socket_;
};

}  // namespace holm::netsetup
