#include <fcntl.h>
#include <fmt/core.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <thread>

#include "base/error.h"
#include "base/sys.h"
#include "netsetup/firewall.h"
#include "netsetup/host_network.h"
#include "netsetup/netlink.h"
#include "netsetup/sysctl.h"

namespace holm::netsetup {
namespace {

using Features = std::vector<std::string>;

// Adds "WHAT: why (CURE)" where `attempt` fails.
bool try_feature(Features& missing, std::string_view what, std::string_view cure,
                 const std::function<void()>& attempt) {
  try {
    attempt();
    return true;
  } catch (const Error& error) {
    const std::string_view better = error.error_number() == EPERM ? "run Holm as root, with CAP_NET_ADMIN"
                                    : error.hints().empty()       ? cure
                                                                  : std::string_view(error.hints().front());
    missing.push_back(fmt::format("{}: {} ({})", what, error.message(), better));
    return false;
  }
}

// Runs in: a thread of its own with a new network namespace, which ends with it.
void try_links_and_rules(Features& missing) {
  const bool is_separate =
      try_feature(missing, "network namespaces", "run Holm as root, on a kernel with CONFIG_NET_NS",
                  [] { sys::unshare(CLONE_NEWNET, "the network namespace"); });
  if (!is_separate) return;
  try_feature(missing, "bridge", "load the kernel module 'bridge'", [] {
    NetlinkBatch batch;
    batch.make_bridge("holmprobe0", derive_mac("probe", 0, 0));
    Netlink().apply(batch);
  });
  try_feature(missing, "veth", "load the kernel module 'veth'", [] {
    const UniqueFd here = sys::open("/proc/thread-self/ns/net", O_RDONLY);
    NetlinkBatch batch;
    batch.make_veth({"holmprobe1", 0, 0, "holmprobe2", derive_mac("probe", 0, 1), here.get()});
    Netlink().apply(batch);
  });
  const FirewallPlan plan{"holm_probe", "holmprobe0", *parse_interface_address("10.0.0.1/24"),
                          *parse_interface_address("fd00::1/64")};
  const bool is_installed =
      try_feature(missing, "nftables", "load the kernel module 'nf_tables'", [&] { install_firewall(plan); });
  if (is_installed && !firewall_stands(plan))
    missing.push_back(
        "nftables: the kernel does not show the rules that it took (report this to Holm's developers)");
}

}  // namespace

std::vector<std::string> missing_features() {
  Features missing;
  std::thread([&missing] { try_links_and_rules(missing); }).join();
  if (::access("/proc/sys/net/ipv4/ip_forward", W_OK) != 0)
    missing.push_back(fmt::format(
        "forwarding: write '/proc/sys/net/ipv4/ip_forward': {} (run Holm as root, outside of a container)",
        describe_errno(errno)));
  if (!has_ipv6())
    missing.push_back(
        "IPv6: it is off on this host, containers have IPv4 only (set net.ipv6.conf.all.disable_ipv6 and "
        "net.ipv6.conf.default.disable_ipv6 to 0, and boot without ipv6.disable=1)");
  try_feature(missing, "nftables", "load the kernel module 'nf_tables'", [&] {
    if (is_forwarding_dropped_by_iptables())
      missing.push_back(
          "forwarding: chain 'FORWARD' of iptables drops what it does not know, as Docker and ufw set it up "
          "(allow the bridge there: iptables -I FORWARD -i BRIDGE -j ACCEPT; iptables -I FORWARD -o BRIDGE "
          "-j ACCEPT)");
  });
  return missing;
}

}  // namespace holm::netsetup
