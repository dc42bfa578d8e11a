// TCP and UDP over the loopback device, and netlink.
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "object.h"
#include "sockets.h"

namespace probe {
namespace {

Address loopback_address(int family) {
  Address address;
  if (family == AF_INET) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
    v4->sin_family = AF_INET;
    v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.size = sizeof *v4;
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_addr = in6addr_loopback;
    address.size = sizeof *v6;
  }
  return address;
}

Fd bind_loopback(int family, int type) {
  Fd socket = make_socket(family, type);
  const Address address = loopback_address(family);
  if (::bind(socket.get(), address.get(), address.size) == 0) return socket;
  if (errno == EADDRNOTAVAIL) throw Skipped(family == AF_INET ? "no address 127.0.0.1" : "no address ::1");
  fail_call("bind");
}

Fd listen_on_loopback(int family) {
  Fd listener = bind_loopback(family, SOCK_STREAM);
  must(::listen(listener.get(), 7), "listen");
  return listener;
}

SocketPair make_connection(int family) {
  const Fd listener = listen_on_loopback(family);
  Fd client = connect_to(own_address(listener), SOCK_STREAM);
  return {std::move(client), accept_within_patience(listener)};
}

std::string data(size_t size, int round) { return pattern(size, static_cast<uint64_t>(round)); }

// Established, with data that neither side has read yet.
class Tcp : public Object {
 public:
  explicit Tcp(int family) : family_(family) {}
  void set_up() override {
    connection_ = make_connection(family_);
    addresses_[0] = own_address(connection_.one);
    addresses_[1] = own_address(connection_.other);
  }
  void change(int round) override {
    write_all(connection_.one.get(), data(60'000, round));
    write_all(connection_.other.get(), data(5000, round + 1));
  }
  void verify(int round) override {
    expect(own_address(connection_.one) == addresses_[0] && own_address(connection_.other) == addresses_[1],
           "an end has another address");
    expect_data(connection_.other.get(), "data of the client", data(60'000, round));
    expect_data(connection_.one.get(), "data of the server", data(5000, round + 1));
    expect_nothing_more(connection_.one.get(), "client");
    expect_nothing_more(connection_.other.get(), "server");
    expect_conversation(connection_.one, connection_.other, "connection");
  }

 private:
  int family_;
  SocketPair connection_;
  Address addresses_[2];
};

// More written than the reader's side takes: the rest waits with the writer, which is not to block.
class FullTcp : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    connection_ = make_connection(AF_INET);
    const std::string all = data(kMost, round);
    written_ = 0;
    while (written_ < all.size()) {
      const ssize_t count =
          ::send(connection_.one.get(), all.data() + written_, all.size() - written_, MSG_DONTWAIT);
      if (count < 0 && errno == EAGAIN) break;
      written_ += static_cast<size_t>(must(count, "send"));
    }
  }
  void verify(int round) override {
    expect_data(connection_.other.get(), "data", data(kMost, round).substr(0, written_));
    expect_nothing_more(connection_.other.get(), "connection");
    expect_conversation(connection_.one, connection_.other, "connection");
  }
  std::string note() const override { return text(written_, " bytes"); }

 private:
  static constexpr size_t kMost = 16 << 20;
  SocketPair connection_;
  size_t written_ = 0;
};

// The client has said that it will send no more.
class HalfClosedTcp : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    connection_ = make_connection(AF_INET);
    write_all(connection_.one.get(), data(1000, round));
    must(::shutdown(connection_.one.get(), SHUT_WR), "shutdown");
  }
  void verify(int round) override {
    expect_data(connection_.other.get(), "data", data(1000, round));
    expect_end_of_file(connection_.other.get(), "data");
    write_all(connection_.other.get(), data(2000, round));
    expect_data(connection_.one.get(), "the other direction", data(2000, round));
  }

 private:
  SocketPair connection_;
};

class TcpListener : public Object {
 public:
  explicit TcpListener(int family) : family_(family) {}
  void set_up() override {
    listener_ = listen_on_loopback(family_);
    address_ = own_address(listener_);
  }
  void change(int) override {}
  void verify(int) override {
    expect_equal("listening", socket_option(listener_, SOL_SOCKET, SO_ACCEPTCONN), 1);
    expect(own_address(listener_) == address_, "it has another address");
    Fd clients[3];
    for (Fd& client : clients) client = connect_to(address_, SOCK_STREAM);
    for (const Fd& client : clients)
      expect_conversation(client, accept_within_patience(listener_), "new connection");
  }

 private:
  int family_;
  Fd listener_;
  Address address_;
};

class SocketOptions : public Object {
 public:
  void set_up() override { connection_ = make_connection(AF_INET); }
  void change(int round) override {
    for (const Option& option : kOptions) {
      const int value = option.first + option.step * (round % 7);
      must(::setsockopt(connection_.one.get(), option.level, option.name, &value, sizeof value), option.text);
    }
    timeval time = {3 + round, 0};
    must(::setsockopt(connection_.one.get(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time), "SO_RCVTIMEO");
    linger linger = {1, 10 + round};
    must(::setsockopt(connection_.one.get(), SOL_SOCKET, SO_LINGER, &linger, sizeof linger), "SO_LINGER");
    for (const Option& option : kOptions)
      expected_[&option - kOptions] = value_of(option);  // doubled, or rounded
  }
  void verify(int round) override {
    for (const Option& option : kOptions)
      expect_equal(option.text, value_of(option), expected_[&option - kOptions]);
    timeval time = {};
    socklen_t size = sizeof time;
    must(::getsockopt(connection_.one.get(), SOL_SOCKET, SO_RCVTIMEO, &time, &size), "SO_RCVTIMEO");
    expect_equal("SO_RCVTIMEO", time.tv_sec, 3 + round);
    linger linger = {};
    size = sizeof linger;
    must(::getsockopt(connection_.one.get(), SOL_SOCKET, SO_LINGER, &linger, &size), "SO_LINGER");
    expect_equal("SO_LINGER", linger.l_linger, 10 + round);
  }

 private:
  struct Option {
    const char* text;
    int level, name, first, step;
  };
  static constexpr Option kOptions[] = {
      {"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 1, 0},
      {"SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 1, 0},
      {"SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, 50'000, 1000},
      {"SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, 40'000, 1000},
      {"SO_PRIORITY", SOL_SOCKET, SO_PRIORITY, 1, 0},
      {"SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT, 1, 1},
      {"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, 1, 0},
      {"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, 100, 10},
      {"TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, 20, 1},
      {"TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, 3, 1},
      {"IP_TOS", IPPROTO_IP, IP_TOS, 8, 4},
      {"IP_TTL", IPPROTO_IP, IP_TTL, 40, 1},
  };

  int value_of(const Option& option) const {
    return socket_option(connection_.one, option.level, option.name);
  }

  SocketPair connection_;
  int expected_[std::size(kOptions)] = {};
};

// CRIU drops datagrams that nobody has read, as a network may: there are none while it looks.
class Udp : public Object {
 public:
  explicit Udp(int family) : family_(family) {}
  void set_up() override {
    bound_ = bind_loopback(family_, SOCK_DGRAM);
    address_ = own_address(bound_);
    connected_ = connect_to(address_, SOCK_DGRAM);
    const Address peer = own_address(connected_);
    answering_ = bind_loopback(family_, SOCK_DGRAM);
    must(::connect(answering_.get(), peer.get(), peer.size), "connect");
  }
  void change(int) override {}
  void verify(int round) override {
    expect(own_address(bound_) == address_, "it has another address");
    write_all(connected_.get(), text("datagram of ", round));
    expect_message(bound_, text("datagram of ", round));
    const Address peer = own_address(connected_);
    must(::sendto(bound_.get(), "back", 4, 0, peer.get(), peer.size), "sendto");
    expect_message(connected_, "back");
    write_all(answering_.get(), "from a stranger");  // a connected socket takes none from others
    await("refusal of a stranger",
          [this] { return socket_option(answering_, SOL_SOCKET, SO_ERROR) == ECONNREFUSED; });
    expect_nothing_more(connected_.get(), "connected socket");
  }

 private:
  int family_;
  Fd bound_, connected_, answering_;
  Address address_;
};

// A question to the kernel, and a group whose messages it wants.
class Netlink : public Object {
 public:
  void set_up() override {
    socket_ = Fd(must(::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), "socket"));
    sockaddr_nl address = {};
    address.nl_family = AF_NETLINK;
    address.nl_groups = RTMGRP_LINK;
    must(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), "bind");
    address_ = own_address(socket_);
  }
  void change(int) override {}
  void verify(int round) override {
    expect(own_address(socket_) == address_, "it has another address or other groups");
    struct {
      nlmsghdr header;
      ifinfomsg link;
    } request = {};
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = RTM_GETLINK;
    request.header.nlmsg_flags = NLM_F_REQUEST;
    request.header.nlmsg_seq = static_cast<uint32_t>(round + 1);
    request.link.ifi_index = 1;  // lo
    must(::send(socket_.get(), &request, sizeof request, 0), "send");
    alignas(nlmsghdr) char answer[8192];
    const auto* header = reinterpret_cast<const nlmsghdr*>(answer);
    do {  // other probes' changes may come in between
      await_readable(socket_.get(), "answer of the kernel");
      must(::recv(socket_.get(), answer, sizeof answer, 0), "recv");
    } while (header->nlmsg_seq != request.header.nlmsg_seq);
    expect_equal("kind of the answer", header->nlmsg_type, RTM_NEWLINK);
  }

 private:
  Fd socket_;
  Address address_;
};

constexpr Kind kKinds[] = {
    {"tcp4", make<Tcp, AF_INET>},
    {"tcp6", make<Tcp, AF_INET6>},
    {"tcp_full", make<FullTcp>},
    {"tcp_half_closed", make<HalfClosedTcp>},
    {"tcp4_listener", make<TcpListener, AF_INET>},
    {"tcp6_listener", make<TcpListener, AF_INET6>},
    {"socket_options", make<SocketOptions>},
    {"udp4", make<Udp, AF_INET>},
    {"udp6", make<Udp, AF_INET6>},
    {"netlink", make<Netlink>},
};

}  // namespace

std::span<const Kind> inet_socket_objects() { return kKinds; }

}  // namespace probe
