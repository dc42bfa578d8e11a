// Sockets and links of network namespaces, and which of them CRIU refuses. Not for other files.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "checkpoint/preflight_files.h"
#include "checkpoint/preflight_finding.h"

namespace holm::checkpoint {

struct LocalSocket {
  uint64_t peer = 0;              // inode
  std::vector<uint64_t> waiting;  // ends of connections that were not accepted yet; 0: closed again
  uint32_t unsent = 0;            // bytes in its queue
};

struct NetlinkSocket {
  uint32_t port = 0;
  bool has_groups = false;
  bool has_high_groups = false;  // above 32
  bool has_messages = false;     // unread
};

// A link of a namespace, as rtnetlink(7) tells it.
struct NetworkLink {
  std::string name;
  std::string kind;   // "veth"; empty for those of hardware
  uint16_t type = 0;  // ARPHRD_...
};

// What the kernel's lists have, by inode number, of all namespaces together.
struct SocketLists {
  std::unordered_map<uint64_t, LocalSocket> local;
  std::unordered_map<uint64_t, NetlinkSocket> netlink;
  std::unordered_set<uint64_t> internet;  // bound or connected
  std::unordered_set<uint64_t> packet;
  std::unordered_set<uint64_t> internet_of_host;  // of the host's namespace, if that is another one
  std::vector<NetworkLink> links;                 // of the container's own namespaces
  std::unordered_set<std::string> unknown;        // protocols that this kernel has no list of: "UNIX"
  bool is_complete = true;
};

using HeldSockets = std::unordered_map<uint64_t, HeldSocket>;
Findings judge_sockets(const HeldSockets& held, const SocketLists& lists);
std::optional<Finding> judge_link(const NetworkLink& link);

// Asks from inside each namespace of the tree, which short-lived threads enter.
SocketLists list_sockets(const Tree& tree, const HeldSockets& held, const Deadline& deadline);

}  // namespace holm::checkpoint
