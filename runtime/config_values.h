// Decisions on single values of a config: what is a host name, a user, a path that may be mounted on.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "netsetup/nic_spec.h"

namespace holm::runtime {

// RFC 1123: labels joined by dots, at most the 64 bytes that the kernel takes.
bool is_hostname(std::string_view text);
// "name", "name:group", "uid", "uid:gid". Ids lie in the 65536 of a container; a number that does not is
// refused here, because lookups by others have taken "-1" or "4294967296" for root (SECURITY.md).
bool is_user(std::string_view text);
// Absolute, at most PATH_MAX, without control characters.
bool is_absolute_path(std::string_view text);
// "//a/./b/" -> "/a/b"; nothing where a component is "..".
std::optional<std::string> normal_path(std::string_view text);
// Where a mount may be put: not on the root, not on /dev, not on or inside /proc or /sys.
bool is_mount_target(std::string_view text);
bool is_interface_name(std::string_view text);
// Neither empty nor with '=' or NUL: a name in an environment.
bool is_environment_name(std::string_view text);
// Neither multicast nor all zero.
bool is_unicast(const netsetup::MacAddress& mac);
// Why an interface cannot have this address ("is a loopback address"); empty where it can.
std::string why_no_interface_address(const netsetup::InterfaceAddress& address);
// "did you mean '+net_raw'?", or empty.
std::string hint_for_capability(std::string_view text);

}  // namespace holm::runtime
