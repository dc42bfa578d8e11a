// The texts of a container's /etc/resolv.conf and /etc/hosts.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netsetup/nic_spec.h"

namespace holm::netsetup {

// Where systemd-resolved keeps the name servers that it asks itself.
inline constexpr const char* kSystemdUpstreamResolvConf = "/run/systemd/resolve/resolv.conf";

struct ResolverSources {
  std::vector<std::string> nameservers;         // the host's settings; they win
  std::string host;                             // content of the host's /etc/resolv.conf
  std::optional<std::string> systemd_upstream;  // content of kSystemdUpstreamResolvConf
};

// Name servers that a container with a network of its own can reach: a loopback address is not the host's in
// there, and a link-local one ("fe80::1%eth0") needs the host's link.
std::string make_resolv_conf(const ResolverSources& sources);

// The host name stands with each of the container's addresses, or with 127.0.1.1 where it has none.
std::string make_hosts(std::string_view hostname, const std::vector<InterfaceAddress>& addresses);

}  // namespace holm::netsetup
