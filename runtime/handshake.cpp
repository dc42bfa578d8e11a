#include "runtime/handshake.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/sys.h"

namespace holm::runtime {

const char* message_name(Message message) {
  switch (message) {
    case Message::ids_mapped:
      return "ids_mapped";
    case Message::root_ready:
      return "root_ready";
    case Message::host_ready:
      return "host_ready";
    case Message::executing:
      return "executing";
    case Message::failed:
      return "failed";
    case Message::running:
      return "running";
    case Message::ended:
      return "ended";
  }
  return "unknown";
}

void Channel::send(Message message, const std::string& text, const std::vector<int>& fds) {
  if (fds.size() > kMaxHandshakeFds)
    throw Error(fmt::format("pass {} descriptors: more than {}", fds.size(), kMaxHandshakeFds));
  auto type = static_cast<unsigned char>(message);
  const std::string shortened = text.substr(0, kMaxHandshakeText);
  std::array<iovec, 2> parts = {{{&type, 1}, {const_cast<char*>(shortened.data()), shortened.size()}}};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxHandshakeFds)> control{};
  msghdr header = {};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
  }
  while (::sendmsg(socket_.get(), &header, MSG_NOSIGNAL) < 0) {
    if (errno != EINTR)
      throw Error::system(fmt::format("send '{}' to the other half", message_name(message)));
  }
}

void Channel::hang_up() { ::shutdown(socket_.get(), SHUT_WR); }

bool has_hung_up(int socket) {
  pollfd state = {socket, POLLRDHUP, 0};
  return ::poll(&state, 1, 0) == 1;
}

std::optional<Received> Channel::receive() {
  unsigned char type = 0;
  std::string text(kMaxHandshakeText, '\0');
  std::array<iovec, 2> parts = {{{&type, 1}, {text.data(), text.size()}}};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxHandshakeFds)> control{};
  msghdr header = {};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t size = 0;
  while ((size = ::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC)) < 0) {
    // The other half ended without having read all that we sent. Said once, ahead of what it sent us before:
    // the next call brings that, the reason why it ended among it.
    if (errno != EINTR && errno != ECONNRESET) throw Error::system("receive from the other half");
  }
  if (size == 0) return std::nullopt;
  Received received;
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    std::array<int, kMaxHandshakeFds> numbers{};
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    std::memcpy(numbers.data(), CMSG_DATA(part), count * sizeof(int));
    for (size_t i = 0; i < count; ++i) received.fds.emplace_back(numbers[i]);
  }
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || type < 1 ||
      type > static_cast<unsigned char>(Message::ended))
    throw Error(fmt::format("received an unknown message of type {}", type));
  received.message = static_cast<Message>(type);
  received.text = text.substr(0, static_cast<size_t>(size) - 1);
  return received;
}

Received Channel::expect(Message wanted) {
  auto received = receive();
  if (!received) throw Error(fmt::format("the other half ended before it said '{}'", message_name(wanted)));
  if (received->message == Message::failed) throw Error::decode(received->text);
  if (received->message != wanted)
    throw Error(fmt::format("received '{}' where '{}' was due", message_name(received->message),
                            message_name(wanted)));
  return std::move(*received);
}

std::pair<Channel, Channel> make_channel() {
  auto [host, container] = sys::socket_pair(SOCK_SEQPACKET);
  return {Channel(std::move(host)), Channel(std::move(container))};
}

}  // namespace holm::runtime
