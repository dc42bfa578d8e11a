// Local sockets: pairs with data under way, descriptors under way, names.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "object.h"
#include "sockets.h"

namespace probe {

// --- what internet sockets use, too

Address own_address(const Fd& socket) {
  Address address;
  must(::getsockname(socket.get(), address.get(), &address.size), "getsockname");
  return address;
}

Fd make_socket(int family, int type) { return Fd(must(::socket(family, type, 0), "socket")); }

Fd accept_within_patience(const Fd& listener) {
  await_readable(listener.get(), "listening socket");
  return Fd(must(::accept(listener.get(), nullptr, nullptr), "accept"));
}

Fd connect_to(const Address& address, int type) {
  Fd socket = make_socket(address.storage.ss_family, type);
  must(::connect(socket.get(), address.get(), address.size), "connect");
  return socket;
}

int socket_option(const Fd& socket, int level, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  must(::getsockopt(socket.get(), level, option, &value, &size), text("getsockopt ", level, " ", option));
  return value;
}

void expect_message(const Fd& socket, const std::string& expected) {
  await_readable(socket.get(), "message");
  std::string found(expected.size() + 1000, '\0');
  const ssize_t count = must(::recv(socket.get(), found.data(), found.size(), 0), "recv");
  found.resize(static_cast<size_t>(count));
  expect(found == expected,
         text("message: expected ", expected.size(), " bytes, found other ", found.size()));
}

void expect_conversation(const Fd& one, const Fd& other, const std::string& what) {
  write_all(one.get(), "question");
  expect_data(other.get(), what + ", one way", "question");
  write_all(other.get(), "answer");
  expect_data(one.get(), what + ", other way", "answer");
}

namespace {

SocketPair make_socket_pair(int type) {
  int ends[2] = {};
  must(::socketpair(AF_UNIX, type, 0, ends), "socketpair");
  return {Fd(ends[0]), Fd(ends[1])};
}

Address local_address(const std::string& name) {
  Address address;
  auto* local = reinterpret_cast<sockaddr_un*>(&address.storage);
  local->sun_family = AF_UNIX;
  expect(name.size() < sizeof local->sun_path, "the directory's name is too long for a socket");
  std::memcpy(local->sun_path, name.data(), name.size());
  // A path ends with a zero, an abstract name begins with one and ends where the size says.
  const size_t rest = name[0] == '\0' ? 0 : 1;
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + rest);
  return address;
}

Fd bind_local(const std::string& name, int type) {
  if (name[0] != '\0') ::unlink(name.c_str());
  Fd socket = make_socket(AF_UNIX, type);
  const Address address = local_address(name);
  must(::bind(socket.get(), address.get(), address.size), "bind");
  return socket;
}

// Unread messages in both directions.
class Pair : public Object {
 public:
  explicit Pair(int type) : type_(type) {}
  void set_up() override { pair_ = make_socket_pair(type_); }
  void change(int round) override {
    for (const size_t size : kSizes) {
      write_all(pair_.one.get(), message(size, round));
      write_all(pair_.other.get(), message(size, round + 1));
    }
  }
  void verify(int round) override {
    for (const size_t size : kSizes) expect_next(pair_.other, message(size, round));
    for (const size_t size : kSizes) expect_next(pair_.one, message(size, round + 1));
    expect_nothing_more(pair_.one.get(), "one end");
    expect_nothing_more(pair_.other.get(), "the other end");
    expect_conversation(pair_.one, pair_.other, "pair");
  }

 private:
  static constexpr size_t kSizes[] = {10, 20'000, 1, 3000};

  static std::string message(size_t size, int round) { return pattern(size, static_cast<uint64_t>(round)); }
  void expect_next(const Fd& socket, const std::string& expected) const {
    if (type_ == SOCK_STREAM) {
      expect_data(socket.get(), "stream", expected);
    } else {
      expect_message(socket, expected);
    }
  }

  int type_;
  SocketPair pair_;
};

// Both directions of one, and one direction of the other, are shut down.
class ShutDown : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    pair_ = make_socket_pair(SOCK_STREAM);
    write_all(pair_.one.get(), text("last words of ", round));
    must(::shutdown(pair_.one.get(), SHUT_WR), "shutdown");
  }
  void verify(int round) override {
    expect_data(pair_.other.get(), "socket", text("last words of ", round));
    expect_end_of_file(pair_.other.get(), "socket");
    write_all(pair_.other.get(), "still open");
    expect_data(pair_.one.get(), "the other direction", "still open");
  }

 private:
  SocketPair pair_;
};

// --- a descriptor in a message

enum class Original { stays_open, is_closed };

void send_descriptor(const Fd& socket, const Fd& sent) {
  char letter = 'd';
  iovec data = {&letter, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = sent.get();
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  must(::sendmsg(socket.get(), &message, 0), "sendmsg");
}

Fd receive_descriptor(const Fd& socket) {
  await_readable(socket.get(), "message with a descriptor");
  char letter = 0;
  iovec data = {&letter, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  must(::recvmsg(socket.get(), &message, 0), "recvmsg");
  expect_equal("text of the message", letter, 'd');
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  expect(header && header->cmsg_type == SCM_RIGHTS, "the message has no descriptor");
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return Fd(fd);
}

template <Original original>
class PassedDescriptor : public Object {
 public:
  void set_up() override { pair_ = make_socket_pair(SOCK_STREAM); }
  void change(int round) override {
    const std::string path = in_directory(text("passed-descriptor-", int(original)));
    write_file(path, text("content of ", round));
    file_ = open_file(path, O_RDONLY);
    send_descriptor(pair_.one, file_);
    if (original == Original::is_closed) file_.close();
  }
  void verify(int round) override {
    const Fd received = receive_descriptor(pair_.other);
    expect_data(received.get(), "passed file", text("content of ", round));
    if (original == Original::stays_open)
      expect_equal("shared offset", must(::lseek(file_.get(), 0, SEEK_CUR), "lseek"),
                   text("content of ", round).size());
  }

 private:
  SocketPair pair_;
  Fd file_;
};

// --- names

enum class Name { path, abstract };

std::string socket_name(Name name, const std::string& what) {
  return name == Name::path ? in_directory(what + ".socket") : '\0' + unique_name(what);
}

// Still takes connections, and those that it had taken go on.
template <Name kind>
class Listener : public Object {
 public:
  void set_up() override {
    listener_ = bind_local(name(), SOCK_STREAM);
    must(::listen(listener_.get(), 5), "listen");
  }
  void change(int) override {
    client_ = connect_to(local_address(name()), SOCK_STREAM);
    server_ = accept_within_patience(listener_);
  }
  void verify(int) override {
    expect_conversation(client_, server_, "old connection");
    expect_equal("listening", socket_option(listener_, SOL_SOCKET, SO_ACCEPTCONN), 1);
    expect(own_address(listener_) == local_address(name()), "it has another name");
    const Fd client = connect_to(local_address(name()), SOCK_STREAM);
    const Fd server = accept_within_patience(listener_);
    expect_conversation(client, server, "new connection");
  }

 private:
  static std::string name() { return socket_name(kind, "listener"); }
  Fd listener_, client_, server_;
};

enum class SentEarly { nothing, data };

// A connection that nobody has accepted yet.
template <SentEarly sent>
class PendingConnection : public Object {
 public:
  void set_up() override {
    listener_ = bind_local(name(), SOCK_STREAM);
    must(::listen(listener_.get(), 5), "listen");
  }
  void change(int round) override {
    client_ = connect_to(local_address(name()), SOCK_STREAM);
    if (sent == SentEarly::data) write_all(client_.get(), text("sent early in ", round));
  }
  void verify(int round) override {
    const Fd server = accept_within_patience(listener_);
    if (sent == SentEarly::data)
      expect_data(server.get(), "pending connection", text("sent early in ", round));
    expect_conversation(client_, server, "pending connection");
  }

 private:
  static std::string name() { return socket_name(Name::path, text("pending-", int(sent))); }
  Fd listener_, client_;
};

// Unread datagrams, and where they come from.
class NamedDatagrams : public Object {
 public:
  void set_up() override {
    receiver_ = bind_local(name("receiver"), SOCK_DGRAM);
    sender_ = bind_local(name("sender"), SOCK_DGRAM);
    const Address address = local_address(name("receiver"));
    must(::connect(sender_.get(), address.get(), address.size), "connect");
  }
  void change(int round) override {
    for (int i = 0; i < 3; ++i) write_all(sender_.get(), text("datagram ", i, " of ", round));
  }
  void verify(int round) override {
    for (int i = 0; i < 3; ++i) {
      await_readable(receiver_.get(), "datagram");
      char data[100];
      Address from;
      const ssize_t count = ::recvfrom(receiver_.get(), data, sizeof data, 0, from.get(), &from.size);
      expect_equal("datagram", std::string(data, static_cast<size_t>(must(count, "recvfrom"))),
                   text("datagram ", i, " of ", round));
      expect(from == local_address(name("sender")), "a datagram's sender has lost its name");
    }
    write_all(sender_.get(), "one more");
    expect_message(receiver_, "one more");
  }

 private:
  static std::string name(const std::string& who) { return socket_name(Name::path, "datagram-" + who); }
  Fd receiver_, sender_;
};

constexpr Kind kKinds[] = {
    {"unix_stream", make<Pair, int(SOCK_STREAM)>},
    {"unix_datagram", make<Pair, int(SOCK_DGRAM)>},
    {"unix_seqpacket", make<Pair, int(SOCK_SEQPACKET)>},
    {"unix_shut_down", make<ShutDown>},
    {"unix_passed_descriptor", make<PassedDescriptor<Original::stays_open>>},
    {"unix_passed_last_descriptor", make<PassedDescriptor<Original::is_closed>>},
    {"unix_listener", make<Listener<Name::path>>},
    {"unix_listener_abstract", make<Listener<Name::abstract>>},
    {"unix_pending_connection", make<PendingConnection<SentEarly::nothing>>},
    {"unix_pending_connection_with_data", make<PendingConnection<SentEarly::data>>},
    {"unix_named_datagrams", make<NamedDatagrams>},
};

}  // namespace

std::span<const Kind> unix_socket_objects() { return kKinds; }

}  // namespace probe
