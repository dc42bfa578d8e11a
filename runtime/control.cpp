#include "runtime/control.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "base/error.h"
#include "base/sys.h"
#include "runtime/local_socket.h"

namespace holm::runtime {
namespace {

constexpr const char* kSocketName = "monitor.sock";
constexpr std::string_view kAcknowledged = "ok";
constexpr timeval kRequestTimeout = {.tv_sec = 1, .tv_usec = 0};
constexpr timeval kAnswerTimeout = {.tv_sec = 30, .tv_usec = 0};

const char* intent_word(Intent intent) {
  switch (intent) {
    case Intent::none:
      return "none";
    case Intent::stop:
      return "stop";
    case Intent::reboot:
      return "reboot";
    case Intent::checkpoint:
      return "checkpoint";
  }
  return "none";
}

}  // namespace

ControlSocket::ControlSocket(const std::string& run_directory)
    : directory_(run_directory), listener_(listen_local(run_directory, kSocketName)) {}

ControlSocket::~ControlSocket() { ::unlink((directory_ + "/" + kSocketName).c_str()); }

std::optional<ControlSocket::Request> ControlSocket::receive() {
  UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!client) return std::nullopt;
  // A peer that connects and says nothing must not hold the monitor up.
  ::setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &kRequestTimeout, sizeof kRequestTimeout);
  char word[16];
  const ssize_t size = ::recv(client.get(), word, sizeof word, 0);
  if (size <= 0) return std::nullopt;
  const std::string_view said(word, static_cast<size_t>(size));
  for (const Intent intent : {Intent::none, Intent::stop, Intent::reboot, Intent::checkpoint}) {
    if (said == intent_word(intent)) return Request{std::move(client), intent};
  }
  return std::nullopt;
}

void ControlSocket::acknowledge(int client) {
  // The other side may have given up meanwhile; what it said counts all the same.
  if (::send(client, kAcknowledged.data(), kAcknowledged.size(), MSG_NOSIGNAL) < 0) return;
}

bool announce_intent(const std::string& run_directory, Intent intent) {
  UniqueFd socket;
  try {
    socket = connect_local(run_directory, kSocketName);
  } catch (const Error& error) {
    if (error.error_number() == ENOENT || error.error_number() == ECONNREFUSED) return false;
    throw;
  }
  const std::string_view word = intent_word(intent);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout, sizeof kAnswerTimeout);
  char answer[8];
  if (::send(socket.get(), word.data(), word.size(), MSG_NOSIGNAL) < 0) return false;  // it ended meanwhile
  const ssize_t size = ::recv(socket.get(), answer, sizeof answer, 0);
  if (size < 0 && errno == EAGAIN)
    throw Error("the container's monitor does not answer")
        .hint("see monitor.log in the run directory; 'holm gc' cleans up after a monitor that was killed");
  return size > 0;
}

}  // namespace holm::runtime
