// One netlink conversation with the kernel: requests out, replies and the kernel's own words for an error
// back. For netlink.cpp and firewall.cpp; everything else uses Netlink.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

struct nl_sock;
struct nl_msg;
struct nl_cb;

namespace holm {
class Error;
}

namespace holm::netsetup {

struct MessageDeleter {
  void operator()(nl_msg* message) const;
};
using Message = std::unique_ptr<nl_msg, MessageDeleter>;

// An empty request with room for its family's header and attributes.
Message make_message(int type, int flags);
// Throws "ACTION: libnl's text" where a libnl call returned an error.
void check_nl(int code, std::string_view action);
// What one of libnl's build functions makes: `build` gets the place for the message and returns libnl's code.
template <class Build>
Message build_message(Build&& build) {
  nl_msg* message = nullptr;
  check_nl(build(&message), "build a netlink message");
  return Message(message);
}

// What the kernel answered to a refused request.
struct NetlinkFailure {
  size_t request = 0;    // which of the requests
  int error_number = 0;  // errno
  std::string text;      // the kernel's extended text, often empty

  Error to_error(std::string_view action) const;
};

class NetlinkSocket {
 public:
  // A socket of this protocol (NETLINK_ROUTE, ...) in the calling thread's network namespace.
  explicit NetlinkSocket(int protocol);
  NetlinkSocket(NetlinkSocket&&) noexcept = default;
  NetlinkSocket& operator=(NetlinkSocket&&) noexcept = default;
  ~NetlinkSocket() = default;

  using OnReply = std::function<void(nl_msg*)>;

  // Sends all requests in one system call; the kernel takes them in turn and goes on after one that it
  // refused. The first refusal, if any.
  std::optional<NetlinkFailure> change(std::span<nl_msg* const> requests);
  // One question with one answer.
  std::optional<NetlinkFailure> get(nl_msg* request, const OnReply& on_reply);
  // One question with a list as the answer. `on_start` is called before the list and whenever it changed
  // while it was read and begins anew.
  std::optional<NetlinkFailure> list(nl_msg* request, const std::function<void()>& on_start,
                                     const OnReply& on_reply);

 private:
  enum class Await { acknowledgement, reply, end_of_list };
  struct Conversation;

  void send(std::span<nl_msg* const> requests, Await await, Conversation& conversation);
  // A code of libnl.
  int receive(Conversation& conversation);

  struct SocketDeleter {
    void operator()(nl_sock* socket) const;
  };
  struct CallbackDeleter {
    void operator()(nl_cb* callback) const;
  };
  std::unique_ptr<nl_sock, SocketDeleter> socket_;
  std::unique_ptr<nl_cb, CallbackDeleter> callbacks_;
};

}  // namespace holm::netsetup
