#include "netsetup/process_sockets.h"

#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm::netsetup {
namespace {

int option_of(int socket, int level, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, level, name, &value, &size) == 0 ? value : -1;
}

void leave_repair(int socket) {
  if (option_of(socket, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP ||
      option_of(socket, IPPROTO_TCP, TCP_REPAIR) != 1)
    return;
  const int off = TCP_REPAIR_OFF;
  if (::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off) != 0)
    throw Error::system("take a TCP connection out of repair mode");
}

// An IPv4 address that an IPv6 socket has is one of IPv4.
std::optional<InterfaceAddress> address_of(const sockaddr_storage& storage) {
  InterfaceAddress address;
  if (storage.ss_family == AF_INET) {
    address.family = AF_INET;
    std::memcpy(address.bytes.data(), &reinterpret_cast<const sockaddr_in&>(storage).sin_addr, 4);
    return address;
  }
  if (storage.ss_family != AF_INET6) return std::nullopt;
  const in6_addr& bytes = reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr;
  const bool is_mapped = IN6_IS_ADDR_V4MAPPED(&bytes);
  address.family = is_mapped ? AF_INET : AF_INET6;
  std::memcpy(address.bytes.data(), bytes.s6_addr + (is_mapped ? 12 : 0), is_mapped ? 4 : 16);
  return address;
}

void drop_connection(int socket, const std::vector<InterfaceAddress>& addresses) {
  sockaddr_storage own = {}, peer = {};
  socklen_t own_size = sizeof own, peer_size = sizeof peer;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&own), &own_size) != 0 ||
      ::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0)
    return;
  const auto address = address_of(own);
  const bool is_meant = address && std::ranges::any_of(addresses, [&](const InterfaceAddress& one) {
                          return one.family == address->family && one.bytes == address->bytes;
                        });
  if (!is_meant) return;
  sockaddr nobody = {};
  nobody.sa_family = AF_UNSPEC;
  if (::connect(socket, &nobody, sizeof nobody) != 0) throw Error::system("end a connection");
}

void for_each_socket(const std::vector<pid_t>& processes, const std::function<void(int socket)>& body) {
  for (const pid_t pid : processes) {
    ignore_errors([&] {  // it ended
      const UniqueFd process = sys::pidfd_open(pid);
      const std::string directory = fmt::format("/proc/{}/fd", pid);
      for (const std::string& name : list_directory(directory)) {
        const auto number = parse_unsigned(name);
        if (!number || !sys::read_link(directory + "/" + name).starts_with("socket:")) continue;
        const UniqueFd socket(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), *number, 0)));
        if (socket) body(socket.get());
      }
    });
  }
}

}  // namespace

void leave_tcp_repair(const std::vector<pid_t>& processes) { for_each_socket(processes, leave_repair); }

void drop_connections(const std::vector<pid_t>& processes, const std::vector<InterfaceAddress>& addresses) {
  for_each_socket(processes, [&](int socket) { drop_connection(socket, addresses); });
}

}  // namespace holm::netsetup
