// The kernel's lists of sockets and links, by netlink.
#include <linux/if_link.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <linux/packet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>

#include "base/error.h"
#include "base/namespace_thread.h"
#include "base/sys.h"
#include "checkpoint/preflight_sockets.h"

namespace holm::checkpoint {
namespace {

struct Channels {
  UniqueFd diag;
  UniqueFd route;
};

Channels open_channels(pid_t process) {
  const UniqueFd network = sys::open("/proc/" + std::to_string(process) + "/ns/net", O_RDONLY);
  return in_network_namespace(network.get(), [] {
    return Channels{UniqueFd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG)),
                    UniqueFd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE))};
  });
}

template <class Body>
std::string question(uint16_t type, const Body& body) {
  nlmsghdr header = {};
  header.nlmsg_len = NLMSG_LENGTH(sizeof body);
  header.nlmsg_type = type;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  std::string text(NLMSG_SPACE(sizeof body), '\0');
  std::memcpy(text.data(), &header, sizeof header);
  std::memcpy(text.data() + NLMSG_HDRLEN, &body, sizeof body);
  return text;
}

// A message's fixed part and its attributes.
struct Message {
  const char* data;
  size_t size;
  template <class Body>
  Body body() const {
    Body body = {};
    std::memcpy(&body, data, std::min(sizeof body, size));
    return body;
  }
  // The attribute's content behind a fixed part; empty where it is not there.
  std::string_view attribute(size_t fixed, unsigned type) const {
    return find({data, size}, NLMSG_ALIGN(fixed), type);
  }
  static std::string_view find(std::string_view text, size_t at, unsigned type) {
    while (at + sizeof(nlattr) <= text.size()) {
      nlattr attribute;
      std::memcpy(&attribute, text.data() + at, sizeof attribute);
      if (attribute.nla_len < sizeof attribute || attribute.nla_len > text.size() - at) break;
      if ((attribute.nla_type & NLA_TYPE_MASK) == type)
        return text.substr(at + NLA_HDRLEN, attribute.nla_len - size_t{NLA_HDRLEN});
      at += NLA_ALIGN(attribute.nla_len);
    }
    return {};
  }
};

enum class Listing { whole, part, unknown };  // unknown: the kernel has no such list

Listing ask(const UniqueFd& channel, const std::string& text, const Deadline& deadline,
            const std::function<void(const Message&)>& on_message) {
  if (!channel || ::send(channel.get(), text.data(), text.size(), 0) < 0) return Listing::unknown;
  alignas(nlmsghdr) char buffer[32768];
  for (;;) {
    pollfd readable = {channel.get(), POLLIN, 0};
    const auto left = deadline.left().count();
    if (left <= 0 || ::poll(&readable, 1, static_cast<int>(left)) <= 0) return Listing::part;
    const ssize_t received = ::recv(channel.get(), buffer, sizeof buffer, 0);
    if (received <= 0) return Listing::part;
    const auto size = static_cast<size_t>(received);
    for (size_t at = 0; at + sizeof(nlmsghdr) <= size;) {
      nlmsghdr header;
      std::memcpy(&header, buffer + at, sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > size - at) return Listing::part;
      if (header.nlmsg_type == NLMSG_DONE) return Listing::whole;
      if (header.nlmsg_type == NLMSG_ERROR) return Listing::unknown;
      on_message({buffer + at + NLMSG_HDRLEN, header.nlmsg_len - size_t{NLMSG_HDRLEN}});
      at += NLMSG_ALIGN(header.nlmsg_len);
    }
  }
}

template <class Value>
Value value_of(std::string_view content) {
  Value value = {};
  std::memcpy(&value, content.data(), std::min(sizeof value, content.size()));
  return value;
}

class Lister {
 public:
  Lister(const Deadline& deadline, SocketLists& lists) : deadline_(deadline), lists_(lists) {}
  void add_namespace(const Channels& channels);
  void add_internet(const Channels& channels, std::unordered_set<uint64_t>& inodes);
  void add_links(const Channels& channels);

 private:
  // Keeps what `name` names as unknown where the kernel has no list.
  void note(Listing listing, std::initializer_list<const char*> names) {
    if (listing == Listing::part) lists_.is_complete = false;
    if (listing == Listing::unknown) lists_.unknown.insert(names.begin(), names.end());
  }
  void add_local(const Channels& channels);
  void add_netlink(const Channels& channels);
  void add_packet(const Channels& channels);

  const Deadline& deadline_;
  SocketLists& lists_;
};

void Lister::add_local(const Channels& channels) {
  unix_diag_req request = {};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = ~0U;
  request.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN;
  constexpr uint8_t kListening = 10;  // TCP_LISTEN
  note(ask(channels.diag, question(SOCK_DIAG_BY_FAMILY, request), deadline_,
           [&](const Message& message) {
             const auto body = message.body<unix_diag_msg>();
             LocalSocket& socket = lists_.local[body.udiag_ino];
             constexpr size_t kFixed = sizeof(unix_diag_msg);
             socket.peer = value_of<uint32_t>(message.attribute(kFixed, UNIX_DIAG_PEER));
             const auto queue = value_of<unix_diag_rqlen>(message.attribute(kFixed, UNIX_DIAG_RQLEN));
             if (body.udiag_state != kListening) socket.unsent = queue.udiag_wqueue;
             const std::string_view icons = message.attribute(kFixed, UNIX_DIAG_ICONS);
             for (size_t at = 0; at + sizeof(uint32_t) <= icons.size(); at += sizeof(uint32_t))
               socket.waiting.push_back(value_of<uint32_t>(icons.substr(at)));
           }),
       {"UNIX"});
}

void Lister::add_netlink(const Channels& channels) {
  netlink_diag_req request = {};
  request.sdiag_family = AF_NETLINK;
  request.sdiag_protocol = NDIAG_PROTO_ALL;
  request.ndiag_show = NDIAG_SHOW_MEMINFO | NDIAG_SHOW_GROUPS;
  note(ask(channels.diag, question(SOCK_DIAG_BY_FAMILY, request), deadline_,
           [&](const Message& message) {
             const auto body = message.body<netlink_diag_msg>();
             NetlinkSocket& socket = lists_.netlink[body.ndiag_ino];
             constexpr size_t kFixed = sizeof(netlink_diag_msg);
             socket.port = body.ndiag_portid;
             const std::string_view groups = message.attribute(kFixed, NETLINK_DIAG_GROUPS);
             for (size_t byte = 0; byte < groups.size(); ++byte) {
               if (groups[byte] == 0) continue;
               socket.has_groups = true;
               socket.has_high_groups |= byte >= 4;
             }
             const auto received = value_of<uint32_t>(message.attribute(kFixed, NETLINK_DIAG_MEMINFO));
             socket.has_messages = received != 0;  // SK_MEMINFO_RMEM_ALLOC is the first
           }),
       {"NETLINK"});
}

void Lister::add_packet(const Channels& channels) {
  packet_diag_req request = {};
  request.sdiag_family = AF_PACKET;
  note(ask(channels.diag, question(SOCK_DIAG_BY_FAMILY, request), deadline_,
           [&](const Message& message) { lists_.packet.insert(message.body<packet_diag_msg>().pdiag_ino); }),
       {"PACKET"});
}

void Lister::add_internet(const Channels& channels, std::unordered_set<uint64_t>& inodes) {
  struct Kind {
    int protocol;
    const char* name;
    const char* name_6;
  };
  for (const Kind& kind : {Kind{IPPROTO_TCP, "TCP", "TCPv6"}, Kind{IPPROTO_UDP, "UDP", "UDPv6"},
                           Kind{IPPROTO_RAW, "RAW", "RAWv6"}}) {
    for (const int family : {AF_INET, AF_INET6}) {
      inet_diag_req_v2 request = {};
      request.sdiag_family = static_cast<uint8_t>(family);
      request.sdiag_protocol = static_cast<uint8_t>(kind.protocol);
      request.idiag_states = ~0U;
      note(ask(channels.diag, question(SOCK_DIAG_BY_FAMILY, request), deadline_,
               [&](const Message& message) { inodes.insert(message.body<inet_diag_msg>().idiag_inode); }),
           {family == AF_INET ? kind.name : kind.name_6});
    }
  }
}

void Lister::add_links(const Channels& channels) {
  ifinfomsg request = {};
  ask(channels.route, question(RTM_GETLINK, request), deadline_, [&](const Message& message) {
    const auto text = [](std::string_view content) {
      return std::string(content.substr(0, content.find('\0')));
    };
    NetworkLink link;
    link.type = message.body<ifinfomsg>().ifi_type;
    link.name = text(message.attribute(sizeof(ifinfomsg), IFLA_IFNAME));
    const std::string_view info = message.attribute(sizeof(ifinfomsg), IFLA_LINKINFO);
    link.kind = text(Message::find(info, 0, IFLA_INFO_KIND));
    lists_.links.push_back(std::move(link));
  });
}

void Lister::add_namespace(const Channels& channels) {
  add_local(channels);
  add_netlink(channels);
  add_packet(channels);
  add_internet(channels, lists_.internet);
}

uint64_t own_namespace() {
  return object_number(link_text(AT_FDCWD, "/proc/self/ns/net"), "net").value_or(0);
}

}  // namespace

SocketLists list_sockets(const Tree& tree, const HeldSockets& held, const Deadline& deadline) {
  SocketLists lists;
  Lister lister(deadline, lists);
  std::unordered_set<uint64_t> seen;
  const uint64_t host = own_namespace();
  for (const Task& task : tree.tasks) {
    const auto network = task.namespaces.find("net");
    if (network == task.namespaces.end() || !seen.insert(network->second).second) continue;
    if (deadline.is_over()) lists.is_complete = false;
    if (!lists.is_complete) return lists;
    ignore_errors([&] {  // the process has ended
      const Channels channels = open_channels(task.pid);
      if (!held.empty()) lister.add_namespace(channels);
      if (network->second != host) lister.add_links(channels);
    });
  }
  const bool has_missing = std::ranges::any_of(held, [&](const auto& socket) {
    return socket.second.protocol.starts_with("TCP") && !lists.internet.contains(socket.first);
  });
  if (has_missing && !seen.contains(host))
    lister.add_internet(open_channels(::getpid()), lists.internet_of_host);
  return lists;
}

}  // namespace holm::checkpoint
