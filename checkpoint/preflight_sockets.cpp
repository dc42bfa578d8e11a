#include "checkpoint/preflight_sockets.h"

#include <fmt/core.h>
#include <linux/if_arp.h>

#include <algorithm>

#include "base/text.h"

namespace holm::checkpoint {
namespace {

constexpr const char* kOutside = "it was made outside of the container's network namespaces";
constexpr const char* kEndIt = "end what uses it";

std::string_view family_of(std::string_view protocol) {
  if (protocol.starts_with("UNIX")) return "UNIX";
  if (protocol == "PACKET" || protocol == "NETLINK") return protocol;
  return "internet";
}

Finding refuse(std::string object, std::string why, std::string cure = kEndIt) {
  return {Severity::obstacle, std::move(object), std::move(why), std::move(cure)};
}

std::optional<Finding> judge_local(uint64_t inode, const HeldSockets& held, const SocketLists& lists) {
  constexpr const char* kName = "unix socket";
  const auto own = lists.local.find(inode);
  if (own == lists.local.end()) return refuse(kName, kOutside);
  if (own->second.peer != 0 && !held.contains(own->second.peer))
    return refuse(kName, "no process of the container has its other end: that is outside, or on its way",
                  "end the connection, or the program that has it");
  for (const uint64_t waiting : own->second.waiting) {
    if (waiting == 0)
      return refuse(kName, "a connection to it was closed before it was accepted",
                    "try again when its program has accepted it");
    const auto client = lists.local.find(waiting);
    if (client != lists.local.end() && client->second.unsent != 0)
      return refuse(kName, "a connection to it has data and was not accepted yet",
                    "try again when its program has accepted it");
  }
  return std::nullopt;
}

std::optional<Finding> judge_netlink(uint64_t inode, const SocketLists& lists) {
  constexpr const char* kName = "netlink socket";
  const auto own = lists.netlink.find(inode);
  if (own == lists.netlink.end()) return std::nullopt;  // not bound
  const NetlinkSocket& socket = own->second;
  if (socket.has_messages)
    return refuse(kName, "it has messages that its program has not read", "try again in a moment");
  if (socket.has_high_groups)
    return refuse(kName, "it is a member of a group above 32, which CRIU does not save");
  if (socket.has_groups && socket.port == 0)
    return refuse(kName, "it is a member of groups and has no address, which CRIU does not save");
  return std::nullopt;
}

}  // namespace

Findings judge_sockets(const HeldSockets& held, const SocketLists& lists) {
  Findings findings;
  for (const auto& [inode, socket] : held) {
    if (judge_protocol(socket.protocol)) continue;  // told already
    const std::string_view family = family_of(socket.protocol);
    std::optional<Finding> finding;
    const std::string kind = family == "internet" ? socket.protocol : std::string(family);
    if (lists.unknown.contains(kind))
      finding =
          refuse(fmt::format("{} socket", kind), "this kernel has no list of them, which CRIU needs",
                 "load the module: unix_diag, tcp_diag, udp_diag, raw_diag, af_packet_diag or netlink_diag");
    else if (family == "UNIX")
      finding = judge_local(inode, held, lists);
    else if (family == "NETLINK")
      finding = judge_netlink(inode, lists);
    else if (family == "PACKET" && !lists.packet.contains(inode))
      finding = refuse("packet socket", kOutside);
    else if (family == "internet" && lists.internet_of_host.contains(inode) &&
             !lists.internet.contains(inode))
      finding = refuse(socket.protocol + " socket", kOutside);
    if (!finding) continue;
    finding->object += fmt::format(" (descriptor {})", socket.descriptor);
    finding->identity = std::to_string(inode);
    // Half a list proves nothing of what is missing in it.
    if (lists.is_complete || finding->why != kOutside)
      findings.push_back({socket.process, std::move(*finding)});
  }
  return findings;
}

// dump_one_link() of CRIU's net.c.
std::optional<Finding> judge_link(const NetworkLink& link) {
  const auto is_one_of = [&](std::initializer_list<std::string_view> kinds) {
    return std::ranges::find(kinds, link.kind) != kinds.end();
  };
  bool is_known = false;
  switch (link.type) {
    case ARPHRD_LOOPBACK:
      is_known = true;
      break;
    case ARPHRD_ETHER:
      is_known = is_one_of({"veth", "tun", "bridge", "macvlan"}) ||
                 (link.kind == "gretap" && link.name == "gretap0");
      break;
    case ARPHRD_NONE:
      is_known = link.kind == "tun";
      break;
    case ARPHRD_VOID:
      is_known = link.kind == "venet";
      break;
    case ARPHRD_IPGRE:
      is_known = link.kind == "gre" && link.name == "gre0";
      break;
    case ARPHRD_SIT:
      is_known = link.kind == "sit";
      break;
    default:
      break;
  }
  if (is_known) return std::nullopt;
  return Finding{Severity::obstacle,
                 fmt::format("network link '{}' ({})", shortened(link.name),
                             link.kind.empty() ? "hardware" : shortened(link.kind)),
                 "CRIU does not know this kind of link", "remove it"};
}

}  // namespace holm::checkpoint
