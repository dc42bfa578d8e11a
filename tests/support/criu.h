// What tests of checkpoints have in common: whether there is a CRIU, containers whose processes count, a TCP
// connection that is kept.
#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "base/unique_fd.h"
#include "tests/support/holm_runner.h"
#include "tests/support/inside.h"
#include "tests/support/slow_host.h"

namespace holm::test {

// The program that Holm would use.
inline std::string criu_program() {
  if (const char* named = std::getenv("HOLM_CRIU")) return named;
  const char* prefix = std::getenv("HOLM_CRIU_PREFIX");
  const std::string own = std::string(prefix ? prefix : "/opt/holm/criu") + "/bin/criu";
  return ::access(own.c_str(), X_OK) == 0 ? own : "criu";
}

// One that runs on this kernel.
inline bool have_criu() {
  static const bool answer =
      have_root() && run_host({"sh", "-c", "exec " + criu_program() + " check"}).status == 0;
  return answer;
}

inline std::string shell(const std::string& script) {
  return "command = [\"/bin/sh\", \"-c\", '''" + script + "''']\n";
}

// Writes 1, 2, 3, ... into /root/count: it has a gap or a repetition where memory and files do not fit.
inline std::string counter() {
  return shell("i=0; while :; do i=$((i+1)); echo $i >> /root/count; sleep 0.02; done");
}

// Counts as well: the programs that it starts by vfork(2), one after the other. Each child takes so long
// before it begins its own.
inline std::string starter(int milliseconds) {
  return fmt::format("command = [\"/load\", \"start-programs\", \"/root/count\", \"{}\"]\n", milliseconds) +
         "[[network]]\nmode = \"none\"\n" + mount_entry(built_program("container_load"), "/load");
}

inline std::string upper_of(const Installation& installation, const std::string& name) {
  return installation.state_directory() + "/containers/" + name + "/upper";
}

// The last number; a CHECK fails where the numbers are not 1, 2, 3, ...
inline int counted(const Installation& installation, const std::string& name) {
  const std::string text = read_file_if_exists(upper_of(installation, name) + "/root/count").value_or("");
  int last = 0;
  for (const std::string& line : split(text.substr(0, text.rfind('\n') + 1), '\n')) {
    if (line.empty()) continue;
    if (line != std::to_string(last + 1)) {
      CHECK_MESSAGE(false, "'", line, "' comes after ", last);
      return last;
    }
    ++last;
  }
  return last;
}

inline bool counts_beyond(const Installation& installation, const std::string& name, int number) {
  return eventually([&] { return counted(installation, name) > number; });
}

inline void suspend(const Installation& installation, const std::string& name) {
  installation.holm_ok({"stop", "--checkpoint", name});
  REQUIRE(installation.column(name, "state") == "suspended");
}
inline void go_on(const Installation& installation, const std::string& name) {
  installation.holm_ok({"start", name});
  REQUIRE(installation.column(name, "state") == "running");
}
inline void suspend_and_go_on(const Installation& installation, const std::string& name) {
  suspend(installation, name);
  go_on(installation, name);
}

// What `holm --json list -a` says of it.
inline nlohmann::json listed(const Installation& installation, const std::string& name) {
  for (auto& container : nlohmann::json::parse(installation.holm_ok({"--json", "list", "-a"})))
    if (container.at("name") == name) return container;
  return {};
}

// IPv4 first, IPv6 second where the host has it.
inline std::vector<std::string> addresses_of(const Installation& installation, const std::string& name) {
  return nlohmann::json::parse(installation.holm_ok({"--json", "inspect", name}))["addresses"]
      .get<std::vector<std::string>>();
}

// The config of a container that counts and sends back what comes in at port 7000.
inline std::string echo_server() {
  return shell("nc -ll -p 7000 -e /bin/cat & " +
               std::string("i=0; while :; do i=$((i+1)); echo $i >> /root/count; sleep 0.02; done")) +
         "[[network]]\nmode = \"nat\"\n";
}

// To a server that sends back what it gets.
class Connection {
 public:
  Connection(const std::string& address, uint16_t port) {
    sockaddr_in v4 = {};
    sockaddr_in6 v6 = {};
    v4.sin_family = AF_INET;
    v6.sin6_family = AF_INET6;
    v4.sin_port = v6.sin6_port = htons(port);
    const bool is_v4 = ::inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1;
    if (!is_v4) ::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr);
    const auto* target = is_v4 ? reinterpret_cast<sockaddr*>(&v4) : reinterpret_cast<sockaddr*>(&v6);
    const socklen_t size = is_v4 ? sizeof v4 : sizeof v6;
    const bool is_connected = eventually([&] {
      fd_.reset(::socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
      return ::connect(fd_.get(), target, size) == 0;
    });
    CHECK_MESSAGE(is_connected, address, " does not answer");
  }

  void send(const std::string& text) {
    CHECK(::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  }
  // Whether exactly this comes, be it after the retransmissions of some seconds.
  bool receives(const std::string& text, std::chrono::milliseconds limit = std::chrono::seconds(15)) {
    const auto end = std::chrono::steady_clock::now() + limit * patience();
    std::string got;
    while (got.size() < text.size() && std::chrono::steady_clock::now() < end) {
      pollfd wanted = {fd_.get(), POLLIN, 0};
      if (::poll(&wanted, 1, 100) <= 0) continue;
      char buffer[65536];
      const ssize_t size = ::recv(fd_.get(), buffer, sizeof buffer, 0);
      if (size <= 0) {
        MESSAGE("the connection has ended: ", std::string(size < 0 ? strerrorname_np(errno) : "closed"));
        return false;
      }
      got.append(buffer, static_cast<size_t>(size));
    }
    return got == text;
  }
  bool echoes(const std::string& text) {
    send(text);
    return receives(text);
  }
  // Nothing has come: neither data nor an end.
  bool is_silent() {
    pollfd wanted = {fd_.get(), POLLIN, 0};
    return ::poll(&wanted, 1, 0) == 0;
  }

 private:
  UniqueFd fd_;
};

}  // namespace holm::test
