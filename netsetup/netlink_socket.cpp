#include "netsetup/netlink_socket.h"

#include <fmt/core.h>
#include <linux/netlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace holm::netsetup {
namespace {

constexpr size_t kReceiveBuffer = 64 * 1024;  // the kernel fills at most 32 KiB at a time
constexpr int kListRetries = 8;

// The text that the kernel added to an error (NETLINK_EXT_ACK), if any.
std::string extended_text(const nlmsgerr* error) {
  auto* header =
      reinterpret_cast<nlmsghdr*>(reinterpret_cast<char*>(const_cast<nlmsgerr*>(error)) - NLMSG_HDRLEN);
  if ((header->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return "";
  // With NETLINK_CAP_ACK only the header of the refused request comes back before the attributes.
  const size_t before = sizeof(nlmsgerr);
  const size_t payload = static_cast<size_t>(nlmsg_datalen(header));
  if (payload <= before) return "";
  auto* first = reinterpret_cast<nlattr*>(static_cast<char*>(nlmsg_data(header)) + before);
  const nlattr* text = nla_find(first, static_cast<int>(payload - before), NLMSGERR_ATTR_MSG);
  if (!text) return "";
  const auto* begin = static_cast<const char*>(nla_data(text));
  return std::string(begin, ::strnlen(begin, static_cast<size_t>(nla_len(text))));
}

}  // namespace

// What the callbacks of one exchange share.
struct NetlinkSocket::Conversation {
  uint32_t first = 0;  // sequence numbers of the requests
  uint32_t last = 0;
  Await await = Await::acknowledgement;
  bool is_over = false;
  std::optional<NetlinkFailure> failure;
  const OnReply* on_reply = nullptr;

  bool is_ours(uint32_t sequence) const { return sequence - first <= last - first; }

  static int on_valid(nl_msg* message, void* self) {
    auto& conversation = *static_cast<Conversation*>(self);
    if (!conversation.is_ours(nlmsg_hdr(message)->nlmsg_seq)) return NL_SKIP;
    if (conversation.on_reply) (*conversation.on_reply)(message);
    if (conversation.await == Await::reply) conversation.is_over = true;
    return NL_OK;
  }
  static int on_end(nl_msg* message, void* self) {
    auto& conversation = *static_cast<Conversation*>(self);
    if (nlmsg_hdr(message)->nlmsg_seq == conversation.last) conversation.is_over = true;
    return NL_OK;
  }
  static int on_error(sockaddr_nl*, nlmsgerr* error, void* self) {
    auto& conversation = *static_cast<Conversation*>(self);
    const uint32_t sequence = error->msg.nlmsg_seq;
    if (!conversation.is_ours(sequence)) return NL_SKIP;
    if (!conversation.failure)
      conversation.failure = {sequence - conversation.first, -error->error, extended_text(error)};
    if (sequence == conversation.last) conversation.is_over = true;
    return NL_SKIP;
  }
};

void MessageDeleter::operator()(nl_msg* message) const { nlmsg_free(message); }
void NetlinkSocket::SocketDeleter::operator()(nl_sock* socket) const { nl_socket_free(socket); }
void NetlinkSocket::CallbackDeleter::operator()(nl_cb* callback) const { nl_cb_put(callback); }

void check_nl(int code, std::string_view action) {
  if (code < 0) throw Error(fmt::format("{}: {}", action, nl_geterror(code)));
}

Message make_message(int type, int flags) {
  Message message(nlmsg_alloc_simple(type, flags));
  if (!message) throw Error("make a netlink message: out of memory");
  return message;
}

Error NetlinkFailure::to_error(std::string_view action) const {
  Error error = Error::system(error_number, action);
  if (!text.empty()) error.hint("the kernel says: " + text);
  return error;
}

NetlinkSocket::NetlinkSocket(int protocol)
    : socket_(nl_socket_alloc()), callbacks_(nl_cb_alloc(NL_CB_DEFAULT)) {
  if (!socket_ || !callbacks_) throw Error("open a netlink socket: out of memory");
  nl_socket_disable_msg_peek(socket_.get());
  nl_socket_set_msg_buf_size(socket_.get(), kReceiveBuffer);
  check_nl(nl_connect(socket_.get(), protocol), "open a netlink socket");
  // Each is an improvement only: older kernels answer without texts, and lists unfiltered.
  for (const int option : {NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK}) {
    const int on = 1;
    ::setsockopt(nl_socket_get_fd(socket_.get()), SOL_NETLINK, option, &on, sizeof on);
  }
}

void NetlinkSocket::send(std::span<nl_msg* const> requests, Await await, Conversation& conversation) {
  conversation.await = await;
  std::vector<char> buffer;
  for (nl_msg* request : requests) {
    nlmsghdr* header = nlmsg_hdr(request);
    header->nlmsg_flags |= NLM_F_REQUEST;
    header->nlmsg_seq = nl_socket_use_seq(socket_.get());
    if (request == requests.front()) conversation.first = header->nlmsg_seq;
    conversation.last = header->nlmsg_seq;
    // Refusals come back in any case; success is of interest only for the last.
    if (await == Await::acknowledgement && request == requests.back()) header->nlmsg_flags |= NLM_F_ACK;
    const auto* begin = reinterpret_cast<const char*>(header);
    buffer.insert(buffer.end(), begin, begin + header->nlmsg_len);
    buffer.resize(NLMSG_ALIGN(buffer.size()));
  }
  check_nl(nl_sendto(socket_.get(), buffer.data(), buffer.size()), "send to the kernel by netlink");
}

int NetlinkSocket::receive(Conversation& conversation) {
  nl_cb* callbacks = callbacks_.get();
  // Several requests are under way at once, so libnl's own check of the order would refuse the answers.
  nl_cb_set(
      callbacks, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, [](nl_msg*, void*) -> int { return NL_OK; }, nullptr);
  nl_cb_set(callbacks, NL_CB_VALID, NL_CB_CUSTOM, Conversation::on_valid, &conversation);
  nl_cb_set(callbacks, NL_CB_ACK, NL_CB_CUSTOM, Conversation::on_end, &conversation);
  nl_cb_set(callbacks, NL_CB_FINISH, NL_CB_CUSTOM, Conversation::on_end, &conversation);
  nl_cb_err(callbacks, NL_CB_CUSTOM, Conversation::on_error, &conversation);
  while (!conversation.is_over)
    if (const int code = nl_recvmsgs(socket_.get(), callbacks); code < 0) return code;
  return 0;
}

std::optional<NetlinkFailure> NetlinkSocket::change(std::span<nl_msg* const> requests) {
  if (requests.empty()) return std::nullopt;
  Conversation conversation;
  send(requests, Await::acknowledgement, conversation);
  check_nl(receive(conversation), "receive from the kernel by netlink");
  return conversation.failure;
}

std::optional<NetlinkFailure> NetlinkSocket::get(nl_msg* request, const OnReply& on_reply) {
  Conversation conversation;
  conversation.on_reply = &on_reply;
  send({&request, 1}, Await::reply, conversation);
  check_nl(receive(conversation), "receive from the kernel by netlink");
  return conversation.failure;
}

std::optional<NetlinkFailure> NetlinkSocket::list(nl_msg* request, const std::function<void()>& on_start,
                                                  const OnReply& on_reply) {
  nlmsg_hdr(request)->nlmsg_flags |= NLM_F_DUMP;
  for (int attempt = 1;; ++attempt) {
    Conversation conversation;
    conversation.on_reply = &on_reply;
    on_start();
    send({&request, 1}, Await::end_of_list, conversation);
    const int code = receive(conversation);
    if (code == -NLE_DUMP_INTR && attempt < kListRetries) continue;
    // A list that never stands still is still the best answer there is.
    if (code != -NLE_DUMP_INTR) check_nl(code, "receive from the kernel by netlink");
    return conversation.failure;
  }
}

}  // namespace holm::netsetup
