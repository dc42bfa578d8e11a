// What local and internet sockets have in common.
#pragma once

#include <sys/socket.h>

#include "object.h"

namespace probe {

struct SocketPair {
  Fd one, other;
};

// An address of any family.
struct Address {
  sockaddr_storage storage = {};
  socklen_t size = sizeof storage;

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  bool operator==(const Address& other) const {
    return std::string(reinterpret_cast<const char*>(&storage), size) ==
           std::string(reinterpret_cast<const char*>(&other.storage), other.size);
  }
};

Address own_address(const Fd& socket);
Fd make_socket(int family, int type);
Fd accept_within_patience(const Fd& listener);
Fd connect_to(const Address& address, int type);
int socket_option(const Fd& socket, int level, int option);
// Both ways.
void expect_conversation(const Fd& one, const Fd& other, const std::string& what);
// The next message as a whole, as far as its kind of socket has messages.
void expect_message(const Fd& socket, const std::string& expected);

}  // namespace probe
