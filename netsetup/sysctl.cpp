#include "netsetup/sysctl.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm::netsetup {
namespace {

std::string path_of(const std::string& name) { return "/proc/sys/" + name; }

const char* forwarding_sysctl(int family) {
  return family == AF_INET ? "net/ipv4/ip_forward" : "net/ipv6/conf/all/forwarding";
}

// A link with accept_ra = 1 stops listening to router advertisements when its host becomes a router (kernel
// document ip-sysctl): a host that has its IPv6 address and default route from them would lose both minutes
// later.
void keep_router_advertisements() {
  for (const std::string& link : list_directory("/proc/sys/net/ipv6/conf")) {
    if (link == "all" || link == "default" || link == "lo") continue;
    const std::string directory = "net/ipv6/conf/" + link;
    const auto accept_ra = read_sysctl(directory + "/accept_ra");
    const auto forwarding = read_sysctl(directory + "/forwarding");
    if (!accept_ra || !forwarding) continue;
    if (const auto value = accept_ra_for_router(*accept_ra, *forwarding))
      ignore_errors([&] { write_sysctl(directory + "/accept_ra", *value); });  // the link may be gone by now
  }
}

}  // namespace

std::optional<std::string> read_sysctl(const std::string& name) {
  const auto content = read_file_if_exists(path_of(name));
  if (!content) return std::nullopt;
  return std::string(trim(*content));
}

void write_sysctl(const std::string& name, const std::string& value) {
  try {
    write_control_file(path_of(name), value);
  } catch (Error& error) {
    if (error.error_number() == EROFS || error.error_number() == EACCES)
      error.hint(
          fmt::format("/proc/sys is read-only here: set '{} = {}' where it is not, outside of this container",
                      name, value));
    throw;
  }
}

bool has_ipv6() {
  // "default" is what a new link gets.
  return read_sysctl("net/ipv6/conf/default/disable_ipv6") == "0" &&
         read_sysctl("net/ipv6/conf/all/disable_ipv6") == "0";
}

bool is_forwarding(int family) { return read_sysctl(forwarding_sysctl(family)) == "1"; }

void enable_forwarding(int family) {
  if (is_forwarding(family)) return;
  if (family == AF_INET6) keep_router_advertisements();
  write_sysctl(forwarding_sysctl(family), "1");
}

std::optional<std::string> accept_ra_for_router(const std::string& accept_ra, const std::string& forwarding) {
  // A link that forwards already ignores advertisements, and is not made to listen to them.
  if (accept_ra != "1" || forwarding != "0") return std::nullopt;
  return "2";
}

}  // namespace holm::netsetup
