// The host's side of mode `nat`: a bridge with a subnet of its own, forwarding, and the firewall table.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "netsetup/nic_spec.h"

namespace holm::netsetup {

struct HostNetworkSettings {
  std::string bridge;
  std::string table;            // of nftables, family inet
  std::string state_directory;  // remembers the subnets over a reboot
  // The host's settings; otherwise a free private network is chosen once. "10.1.2.0/24" or, to give the
  // bridge another address than the first, "10.1.2.254/24".
  std::optional<InterfaceAddress> subnet4;
  std::optional<InterfaceAddress> subnet6;
  std::vector<std::string> nameservers;  // for make_resolv_conf; empty: the host's
  // Which veth links are this installation's: they go back into a bridge that somebody deleted under them.
  std::function<bool(const std::string& link)> is_own_link;
};

struct NatNetwork {
  std::string bridge;
  InterfaceAddress gateway4;                 // the bridge's address with the subnet's prefix length
  std::optional<InterfaceAddress> gateway6;  // nothing where the host has no IPv6
  unsigned mtu = 1500;                       // for the containers' links
};

// Makes what is missing of the bridge, its addresses, forwarding and the table, and repairs what somebody
// changed. Safe to be called by many processes at once; takes a fraction of a millisecond where all stands.
NatNetwork ensure_nat_network(const HostNetworkSettings& settings);

enum class Removal { removed, still_in_use, nothing_there };
// Removes bridge and table unless links are still in the bridge. The subnets stay chosen.
Removal remove_nat_network(const HostNetworkSettings& settings);

// What mode `nat` cannot do on this host, each with its cure: "IPv6: ... (...)". Tries it in a network
// namespace of its own, so that nothing is changed; takes some milliseconds.
std::vector<std::string> missing_features();

}  // namespace holm::netsetup
