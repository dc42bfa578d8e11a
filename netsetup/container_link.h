// A container's link to its bridge, in two halves that different processes do.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netsetup/nic_spec.h"
#include "netsetup/traffic.h"

namespace holm::netsetup {

struct LinkPlan {
  std::string host_name;  // the host's end
  std::string bridge;     // empty: the host's end stays on its own
  std::string container_name = "eth0";
  MacAddress mac;
  std::vector<InterfaceAddress> addresses;
  std::optional<InterfaceAddress> gateway4;
  std::optional<InterfaceAddress> gateway6;
  unsigned mtu = 0;  // 0: the kernel's default
};

// Makes the pair: the host's end up and in the bridge, the container's end named in its network namespace.
// Leaves nothing behind when it throws. Runs in: the host's network namespace.
void attach(const LinkPlan& plan, int network_namespace);

// Gives the container's end and the loopback link what they need to work; `attach` must be done.
// Runs in: the container's network namespace, with CAP_NET_ADMIN over it, and where /proc/sys is writable.
void configure_inside(const LinkPlan& plan);
// Takes all global addresses of a link away, sets its MAC and gives it the plan's, with the default routes.
// Runs as `configure_inside`, which has been done for other addresses; returns those.
std::vector<InterfaceAddress> renumber_inside(const LinkPlan& plan);
// For mode `none`: the loopback link alone. Runs as `configure_inside`.
void configure_loopback();

// Puts the host's end into a bridge, or (with an empty name) takes it out, so that nothing passes while its
// state stays as it is. Nothing to do where the link is gone.
void set_bridge(const std::string& host_name, const std::string& bridge);

// Removes the pair. False where it is gone already, as it is once the container's network namespace is.
bool detach(const std::string& host_name);

struct HostLink {
  std::string name;
  std::string kind;  // "veth"
  int index = 0;     // the kernel gives it to no other link of this network namespace before it has used all
  Traffic traffic;   // as the host's end counts: what the container received was sent here
};
// The host's links whose names begin with `prefix`, for gc and for the ledger.
std::vector<HostLink> list_links(std::string_view prefix);

}  // namespace holm::netsetup
