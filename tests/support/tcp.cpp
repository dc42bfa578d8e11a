#include "tests/support/tcp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/support/slow_host.h"

namespace holm::test {
namespace {

struct Endpoint {
  sockaddr_storage storage = {};
  socklen_t size = 0;
};

Endpoint endpoint(const std::string& address, uint16_t port) {
  Endpoint end;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&end.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&end.storage);
  if (::inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    end.size = sizeof *v4;
  } else if (::inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    end.size = sizeof *v6;
  }
  return end;
}

UniqueFd tcp_socket(const Endpoint& end) {
  UniqueFd fd(::socket(end.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval limit = {2 * patience(), 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  return fd;
}

const sockaddr* generic(const Endpoint& end) { return reinterpret_cast<const sockaddr*>(&end.storage); }

}  // namespace

std::string http_get(const std::string& address, uint16_t port) {
  const Endpoint end = endpoint(address, port);
  const UniqueFd fd = tcp_socket(end);
  if (!fd || ::connect(fd.get(), generic(end), end.size) != 0) return "";
  const std::string request = "GET / HTTP/1.0\r\n\r\n";
  if (::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return "";
  std::string all;
  char part[4096];
  for (ssize_t size = 0; (size = ::recv(fd.get(), part, sizeof part, 0)) > 0;)
    all.append(part, static_cast<size_t>(size));
  return all;
}

TcpServer::TcpServer(const std::string& address, const std::string& text) {
  const Endpoint wanted = endpoint(address, 0);
  socket_.reset(::socket(wanted.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Endpoint got;
  got.size = sizeof got.storage;
  if (!socket_ || ::bind(socket_.get(), generic(wanted), wanted.size) != 0 ||
      ::listen(socket_.get(), 8) != 0 ||
      ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&got.storage), &got.size) != 0)
    return;  // port 0: the test that connects says what it missed
  port_ = ntohs(reinterpret_cast<sockaddr_in*>(&got.storage)->sin_port);  // at the same place for IPv6
  thread_ = std::thread([listener = socket_.get(), text] {
    for (;;) {
      const UniqueFd client(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) return;
      if (::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) continue;  // it went away
    }
  });
}

TcpServer::~TcpServer() {
  ::shutdown(socket_.get(), SHUT_RDWR);  // ends accept
  if (thread_.joinable()) thread_.join();
}

}  // namespace holm::test
