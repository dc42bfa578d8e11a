// What a container has set of its network namespace's settings: files below /proc/sys/net.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace holm::netsetup {

using NetworkSettings = std::map<std::string, std::string>;  // "ipv4/ip_local_port_range" -> "1024 65535"

// Those that differ from what a new namespace has, but not those of single links.
NetworkSettings read_network_settings(int network_namespace);
// Sets them; returns a warning for each that this kernel does not take. Throws where a name leads elsewhere.
std::vector<std::string> write_network_settings(int network_namespace, const NetworkSettings& settings);

// While it lasts, sockets can be bound to addresses that the namespace does not have, as those of a container
// whose addresses have changed.
void allow_foreign_binds(int network_namespace);
void end_foreign_binds(int network_namespace, const NetworkSettings& settings);

}  // namespace holm::netsetup
