// The host's network settings below /proc/sys.
#pragma once

#include <optional>
#include <string>

namespace holm::netsetup {

// "net/ipv4/ip_forward" -> "1"; nothing where this kernel has no such setting.
std::optional<std::string> read_sysctl(const std::string& name);
void write_sysctl(const std::string& name, const std::string& value);

// True where the kernel has IPv6 and links of this network namespace may use it.
bool has_ipv6();

// Whether this host passes packets on between its links.
bool is_forwarding(int family);
// Makes this host pass packets on, and keeps its uplinks listening to router advertisements.
void enable_forwarding(int family);
// What `enable_forwarding` does to `accept_ra` of a link: the new value, or nothing where it stays as it is.
std::optional<std::string> accept_ra_for_router(const std::string& accept_ra, const std::string& forwarding);

}  // namespace holm::netsetup
