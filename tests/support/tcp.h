// The least of TCP that tests need: one request as a client, one text as a server.
#pragma once

#include <cstdint>
#include <string>
#include <thread>

#include "base/unique_fd.h"

namespace holm::test {

// The whole answer to "GET /" of a web server, empty where there is none within two seconds (slow_host.h).
std::string http_get(const std::string& address, uint16_t port);

// Listens on an address of the host and sends `text` to whoever connects.
class TcpServer {
 public:
  TcpServer(const std::string& address, const std::string& text);
  ~TcpServer();
  TcpServer(const TcpServer&) = delete;
  TcpServer& operator=(const TcpServer&) = delete;
  uint16_t port() const { return port_; }

 private:
  UniqueFd socket_;
  uint16_t port_ = 0;
  std::thread thread_;
};

}  // namespace holm::test
