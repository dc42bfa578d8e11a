#include "quotas/network_facts.h"

#include <linux/inet_diag.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/namespace_thread.h"
#include "base/sys.h"
#include "base/unique_fd.h"

namespace holm::quotas {
namespace {

using Clock = std::chrono::steady_clock;

struct Sockets {
  UniqueFd sockets;   // NETLINK_SOCK_DIAG
  UniqueFd firewall;  // NETLINK_NETFILTER
};

Sockets open_in_namespace(int network_namespace) {
  return in_network_namespace(network_namespace, [] {
    return Sockets{UniqueFd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG)),
                   UniqueFd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER))};
  });
}

struct Question {
  nlmsghdr header = {};
  union {
    inet_diag_req_v2 internet;
    unix_diag_req local;
    nfgenmsg firewall;
  };
};

template <class Body>
void set_header(Question& question, int type, const Body& body) {
  question.header.nlmsg_len = NLMSG_LENGTH(sizeof body);
  question.header.nlmsg_type = static_cast<uint16_t>(type);
  question.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
}

Question internet_sockets(int family, int protocol) {
  Question question;
  question.internet = {};
  question.internet.sdiag_family = static_cast<uint8_t>(family);
  question.internet.sdiag_protocol = static_cast<uint8_t>(protocol);
  question.internet.idiag_ext = 1 << (INET_DIAG_SKMEMINFO - 1);
  // These two are no sockets but what the kernel keeps instead of one.
  question.internet.idiag_states = ~(1U << TCP_TIME_WAIT | 1U << TCP_SYN_RECV);
  set_header(question, SOCK_DIAG_BY_FAMILY, question.internet);
  return question;
}

Question local_sockets() {
  Question question;
  question.local = {};
  question.local.sdiag_family = AF_UNIX;
  question.local.udiag_states = ~0U;
  question.local.udiag_show = UDIAG_SHOW_MEMINFO;
  set_header(question, SOCK_DIAG_BY_FAMILY, question.local);
  return question;
}

Question firewall_rules() {
  Question question;
  question.firewall = {AF_UNSPEC, NFNETLINK_V0, 0};
  set_header(question, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE, question.firewall);
  return question;
}

using OnAnswer = std::function<void(const nlmsghdr&)>;

// One datagram of answers; false after the last one or where there are none.
bool take_answers(const char* buffer, size_t size, const OnAnswer& on_answer, bool& is_refused) {
  for (size_t at = 0; at + sizeof(nlmsghdr) <= size;) {
    nlmsghdr header;
    std::memcpy(&header, buffer + at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > size - at) return false;
    if (header.nlmsg_type == NLMSG_ERROR) is_refused = true;
    if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) return false;
    on_answer(*reinterpret_cast<const nlmsghdr*>(buffer + at));
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  return true;
}

// Asks for a list; false where the kernel does not know the question or is not done by `end`.
bool ask(const UniqueFd& socket, const Question& question, Clock::time_point end, const OnAnswer& on_answer) {
  if (!socket || ::send(socket.get(), &question, question.header.nlmsg_len, 0) < 0) return false;
  alignas(nlmsghdr) char buffer[32768];
  bool is_refused = false;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    pollfd readable = {socket.get(), POLLIN, 0};
    if (left.count() <= 0 || ::poll(&readable, 1, static_cast<int>(left.count())) <= 0) return false;
    const ssize_t size = ::recv(socket.get(), buffer, sizeof buffer, 0);
    if (size <= 0) return false;
    if (!take_answers(buffer, static_cast<size_t>(size), on_answer, is_refused)) return !is_refused;
  }
}

using Memory = std::array<uint32_t, SK_MEMINFO_VARS>;

// The attribute of this type behind a message's fixed part, as the kernel's table of a socket's memory.
Memory memory_of(const nlmsghdr& answer, size_t fixed, unsigned type) {
  Memory memory = {};
  const char* data = static_cast<const char*>(NLMSG_DATA(&answer));
  const size_t size = NLMSG_PAYLOAD(&answer, 0);
  for (size_t at = NLMSG_ALIGN(fixed); at + sizeof(nlattr) <= size;) {
    nlattr attribute;
    std::memcpy(&attribute, data + at, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || attribute.nla_len > size - at) break;
    if (attribute.nla_type == type)
      std::memcpy(memory.data(), data + at + NLA_HDRLEN,
                  std::min(sizeof memory, attribute.nla_len - size_t{NLA_HDRLEN}));
    at += NLA_ALIGN(attribute.nla_len);
  }
  return memory;
}

// Counts the sockets of one namespace.
class SocketTally {
 public:
  SocketTally(const ProcessCensus& census, bool is_own) : census_(census), is_own_(is_own) {}

  void add_tcp(const nlmsghdr& answer) {
    const uint64_t inode = internet_inode(answer);
    if (!is_counted(inode)) return;
    if (!census_.tcp_sockets.contains(inode)) ++tcp;
    const Memory memory = memory_of(answer, sizeof(inet_diag_msg), INET_DIAG_SKMEMINFO);
    buffers.tcp_send += memory[SK_MEMINFO_WMEM_QUEUED];
    buffers.tcp_receive += uint64_t{memory[SK_MEMINFO_RMEM_ALLOC]} + memory[SK_MEMINFO_BACKLOG];
  }
  void add_udp(const nlmsghdr& answer) {
    const uint64_t inode = internet_inode(answer);
    if (!is_counted(inode)) return;
    if (!census_.other_sockets.contains(inode)) ++other;
    const Memory memory = memory_of(answer, sizeof(inet_diag_msg), INET_DIAG_SKMEMINFO);
    buffers.other += memory[SK_MEMINFO_WMEM_ALLOC];
    buffers.datagram_receive += memory[SK_MEMINFO_RMEM_ALLOC];
  }
  void add_local(const nlmsghdr& answer) {
    const uint64_t inode = static_cast<const unix_diag_msg*>(NLMSG_DATA(&answer))->udiag_ino;
    if (!is_counted(inode)) return;
    if (!census_.other_sockets.contains(inode)) ++other;
    const Memory memory = memory_of(answer, sizeof(unix_diag_msg), UNIX_DIAG_MEMINFO);
    buffers.other += uint64_t{memory[SK_MEMINFO_WMEM_ALLOC]} + memory[SK_MEMINFO_RMEM_ALLOC];
  }

  struct {
    uint64_t tcp_send = 0, tcp_receive = 0, other = 0, datagram_receive = 0;
  } buffers;
  uint64_t tcp = 0, other = 0;  // without a descriptor

 private:
  static uint64_t internet_inode(const nlmsghdr& answer) {
    return static_cast<const inet_diag_msg*>(NLMSG_DATA(&answer))->idiag_inode;
  }
  bool is_counted(uint64_t inode) const {
    return is_own_ || census_.tcp_sockets.contains(inode) || census_.other_sockets.contains(inode);
  }

  const ProcessCensus& census_;
  bool is_own_;
};

}  // namespace

void add_network_facts(int network_namespace, bool is_own, const ProcessCensus& census,
                       std::chrono::milliseconds patience, Facts& facts) {
  const Sockets sockets = open_in_namespace(network_namespace);
  const auto end = Clock::now() + patience;
  SocketTally tally(census, is_own);
  bool has_tcp = false, has_udp = false;
  for (const int family : {AF_INET, AF_INET6}) {
    has_tcp |= ask(sockets.sockets, internet_sockets(family, IPPROTO_TCP), end,
                   [&](const nlmsghdr& answer) { tally.add_tcp(answer); });
    has_udp |= ask(sockets.sockets, internet_sockets(family, IPPROTO_UDP), end,
                   [&](const nlmsghdr& answer) { tally.add_udp(answer); });
  }
  const bool has_local =
      ask(sockets.sockets, local_sockets(), end, [&](const nlmsghdr& answer) { tally.add_local(answer); });
  facts.tcp_sockets = facts.tcp_sockets.value_or(0) + tally.tcp;
  facts.other_sockets = facts.other_sockets.value_or(0) + tally.other;
  if (has_tcp) facts.tcp_send_buffers = tally.buffers.tcp_send;
  if (has_tcp) facts.tcp_receive_buffers = tally.buffers.tcp_receive;
  if (has_udp || has_local) facts.other_buffers = tally.buffers.other;
  if (has_udp) facts.datagram_receive_buffers = tally.buffers.datagram_receive;
  if (!is_own) return;  // the host's rules
  uint64_t rules = 0;
  const bool has_rules = ask(sockets.firewall, firewall_rules(), end, [&](const nlmsghdr& answer) {
    if (answer.nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE)) ++rules;
  });
  if (has_rules) facts.firewall_rules = rules;
}

}  // namespace holm::quotas
