// The talk between the host half (launch.cpp) and the container half (init.cpp) of a start.
//
//      launch (host)                               init (container)
//      ------------                                ----------------
//      clone3 ───────────────────────────────────▶ joins its v1 cgroups
//      writes the id maps
//                     ── ids_mapped ─────────────▶ sets host name
//      mounts the root, copies bind mounts
//                     ── root_ready (+ fds) ─────▶ unshares mounts and cgroups, opens the root, becomes user
//                     0 of
//                                                  its user namespace, builds /proc /sys /dev,
//      makes the veth pair, writes limits            pivots
//                     ── host_ready ─────────────▶ configures the links, drops rights, installs the filter
//                     ◀─ executing ──────────────  the next call is execve
//                     ◀─ end of file ────────────  execve succeeded (the socket is close-on-exec)
//
//      At any time    ◀─ failed (encoded Error) ─  the start failed inside; init exits
//      End of file where another message is due means that the other half died.
//
// And between the command that starts a container and its monitor (monitor.cpp):
//
//      monitor ── running ──▶ command         init executes
//              ── failed ───▶                 it does not; nothing is left
//              ── ended (exit status) ──▶     only to a command that stays in the foreground
//              ◀─ end of file ──              the command was told to end: a restore is called off
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

namespace holm::runtime {

enum class Message : unsigned char {
  ids_mapped = 1,
  root_ready,
  host_ready,
  executing,
  failed,
  running,
  ended
};
const char* message_name(Message message);

struct Received {
  Message message{};
  std::string text;  // failed: an encoded Error; ended: the exit status
  std::vector<UniqueFd> fds;
};

inline constexpr size_t kMaxHandshakeText = 16384;
inline constexpr size_t kMaxHandshakeFds = 64;

// One end of the SOCK_SEQPACKET pair.
class Channel {
 public:
  explicit Channel(UniqueFd socket) : socket_(std::move(socket)) {}

  void send(Message message, const std::string& text = "", const std::vector<int>& fds = {});
  // Nothing at the end of the stream. A message that is no message is an Error.
  std::optional<Received> receive();
  // The next message must be `wanted`: `failed` is thrown as the Error that it carries, anything else as an
  // Error.
  Received expect(Message wanted);
  // The other end sees that we have hung up, and may send all the same.
  void hang_up();
  int fd() const { return socket_.get(); }

 private:
  UniqueFd socket_;
};

std::pair<Channel, Channel> make_channel();
// Whether the other end of the socket has hung up or is gone.
bool has_hung_up(int socket);

}  // namespace holm::runtime
