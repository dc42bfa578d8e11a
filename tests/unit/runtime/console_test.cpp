#include "runtime/console.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

#include "base/file.h"
#include "base/sys.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::runtime;

namespace {

// A console and the loop of its monitor, one turn at a time. The slave stands for the payload.
class Fixture {
 public:
  Fixture() : console(directory.path(), ::getuid()) {
    termios settings = {};
    ::tcgetattr(console.slave(), &settings);
    ::cfmakeraw(&settings);  // what is written arrives byte by byte as it is
    ::tcsetattr(console.slave(), TCSANOW, &settings);
  }
  void turn() {
    std::vector<pollfd> wanted;
    console.add_to(wanted);
    if (::poll(wanted.data(), wanted.size(), 20) > 0) console.handle(wanted);
  }
  void turns(int count) {
    for (int i = 0; i < count; ++i) turn();
  }
  void payload_writes(const std::string& text) { sys::write_all(console.slave(), text, "console"); }
  std::string log(const char* name = "/init.log") const {
    return read_file_if_exists(directory.path() + name, 8 << 20).value_or("");
  }

  test::TemporaryDirectory directory;
  Console console;
};

std::string receive(int fd) {
  char buffer[8192];
  const ssize_t size = ::recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
  return size <= 0 ? "" : std::string(buffer, static_cast<size_t>(size));
}

void send(const UniqueFd& client, const std::string& frame) {
  CHECK(::send(client.get(), frame.data(), frame.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(frame.size()));
}

std::string payload_reads(int slave) {
  pollfd wanted = {slave, POLLIN, 0};
  if (::poll(&wanted, 1, 200) <= 0) return "";
  char buffer[8192];
  const ssize_t size = ::read(slave, buffer, sizeof buffer);
  return size <= 0 ? "" : std::string(buffer, static_cast<size_t>(size));
}

}  // namespace

TEST_CASE("what the payload writes is logged whether or not somebody looks") {
  Fixture fixture;
  fixture.payload_writes("first\n");
  fixture.turns(3);
  CHECK(fixture.log() == "first\n");
}

TEST_CASE("the log and the socket are for their owner only, and the socket goes with the console") {
  const test::TemporaryDirectory directory;
  {
    const Console console(directory.path(), ::getuid());
    CHECK((sys::stat_path(directory.path() + "/init.log")->st_mode & 0777) == 0600);
    CHECK((sys::stat_path(directory.path() + "/console.sock")->st_mode & 0777) == 0600);
  }
  CHECK_FALSE(sys::exists(directory.path() + "/console.sock"));
  CHECK(sys::exists(directory.path() + "/init.log"));
}

TEST_CASE("all clients see the output, and what each types reaches the payload") {
  Fixture fixture;
  const UniqueFd one = connect_console(fixture.directory.path());
  const UniqueFd two = connect_console(fixture.directory.path());
  fixture.turns(3);
  fixture.payload_writes("hello");
  fixture.turns(2);
  CHECK(receive(one.get()) == "hello");
  CHECK(receive(two.get()) == "hello");
  send(one, std::string(1, kConsoleData) + "from one");
  fixture.turns(2);
  CHECK(payload_reads(fixture.console.slave()) == "from one");
  send(two, std::string(1, kConsoleData) + "from two");
  fixture.turns(2);
  CHECK(payload_reads(fixture.console.slave()) == "from two");
}

TEST_CASE("a client's window size becomes the console's") {
  Fixture fixture;
  const UniqueFd client = connect_console(fixture.directory.path());
  fixture.turn();
  const uint16_t size[2] = {50, 132};
  std::string frame(1, kConsoleResize);
  frame.append(reinterpret_cast<const char*>(size), sizeof size);
  send(client, frame);
  fixture.turns(2);
  winsize window = {};
  REQUIRE(::ioctl(fixture.console.slave(), TIOCGWINSZ, &window) == 0);
  CHECK(window.ws_row == 50);
  CHECK(window.ws_col == 132);
}

TEST_CASE("a foreground client's window size is there before the payload is") {
  Fixture fixture;
  auto [ours, theirs] = sys::socket_pair(SOCK_SEQPACKET);
  const uint16_t size[2] = {11, 22};
  std::string frame(1, kConsoleResize);
  frame.append(reinterpret_cast<const char*>(size), sizeof size);
  send(ours, frame);
  fixture.console.add_foreground_client(std::move(theirs));
  winsize window = {};
  REQUIRE(::ioctl(fixture.console.slave(), TIOCGWINSZ, &window) == 0);
  CHECK(window.ws_row == 11);
  CHECK(window.ws_col == 22);
}

TEST_CASE("messages that make no sense change nothing and end nothing") {
  Fixture fixture;
  const UniqueFd client = connect_console(fixture.directory.path());
  fixture.turn();
  for (const std::string& frame :
       {std::string("r"), std::string("r\x01"), std::string("r\x01\x02\x03\x04\x05"), std::string("x"),
        std::string("\0\0\0", 3), std::string("d")}) {
    send(client, frame);
    fixture.turns(2);
  }
  winsize window = {};
  ::ioctl(fixture.console.slave(), TIOCGWINSZ, &window);
  CHECK(window.ws_row == 24);
  CHECK(window.ws_col == 80);
  fixture.payload_writes("still here");
  fixture.turns(2);
  CHECK(receive(client.get()) == "still here");
}

TEST_CASE("a client beyond the eighth is turned away, and its place is free when one leaves") {
  Fixture fixture;
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 9; ++i) {
    clients.push_back(connect_console(fixture.directory.path()));
    fixture.turn();
  }
  char byte;
  CHECK(::recv(clients[8].get(), &byte, 1, MSG_DONTWAIT) == 0);
  clients.erase(clients.begin());
  fixture.turns(2);
  const UniqueFd next = connect_console(fixture.directory.path());
  fixture.turns(2);
  fixture.payload_writes("x");
  fixture.turns(2);
  CHECK(receive(next.get()) == "x");
}

TEST_CASE("a client that does not read misses output, and holds up neither payload nor log") {
  Fixture fixture;
  const UniqueFd client = connect_console(fixture.directory.path());
  fixture.turn();
  const std::string chunk(2048, 'x');
  for (int i = 0; i < 1000; ++i) {
    fixture.payload_writes(chunk);
    fixture.turn();
  }
  fixture.turns(10);
  CHECK(fixture.log("/init.log.1").size() + fixture.log().size() == 1000 * chunk.size());
  while (!receive(client.get()).empty()) {
  }
  fixture.payload_writes("it is still attached");
  fixture.turns(2);
  CHECK(receive(client.get()) == "it is still attached");
}

TEST_CASE("a foreground client never misses output: the payload waits for it") {
  Fixture fixture;
  auto [ours, theirs] = sys::socket_pair(SOCK_SEQPACKET);
  fixture.console.add_foreground_client(std::move(theirs));
  // Without anybody reading the console stops to take output after a while.
  sys::set_nonblocking(fixture.console.slave());
  const std::string chunk(1024, 'y');
  size_t written = 0;
  for (int stuck = 0; stuck < 3;) {
    const ssize_t size = ::write(fixture.console.slave(), chunk.data(), chunk.size());
    if (size > 0) written += static_cast<size_t>(size);
    stuck = size > 0 ? 0 : stuck + 1;
    fixture.turn();
    REQUIRE(written < (16U << 20));
  }
  size_t seen = 0;
  for (int quiet = 0; quiet < 3;) {
    const size_t size = receive(ours.get()).size();
    seen += size;
    quiet = size > 0 ? 0 : quiet + 1;
    fixture.turn();
  }
  CHECK(seen == written);
}

TEST_CASE("a full log becomes the older one, and at most two are kept") {
  Fixture fixture;
  const std::string chunk(2048, 'z');
  for (size_t written = 0; written < 3 * kMaxLogSize + kMaxLogSize / 2; written += chunk.size()) {
    fixture.payload_writes(chunk);
    fixture.turn();
  }
  fixture.turns(5);
  CHECK(fixture.log().size() < kMaxLogSize);
  CHECK(fixture.log("/init.log.1").size() >= kMaxLogSize);
  CHECK(fixture.log("/init.log.1").size() < kMaxLogSize + 8192);
  CHECK(list_directory(fixture.directory.path()) ==
        std::vector<std::string>{"console.sock", "init.log", "init.log.1"});
}

TEST_CASE("what is left in the console when init ended is logged") {
  Fixture fixture;
  fixture.payload_writes("last words");
  fixture.console.drain();
  CHECK(fixture.log() == "last words");
}

TEST_CASE("input that the payload does not read is dropped, not waited for") {
  Fixture fixture;
  const UniqueFd client = connect_console(fixture.directory.path());
  fixture.turn();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) {
    send(client, std::string(1, kConsoleData) + std::string(4000, 'i'));
    fixture.turn();
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  fixture.payload_writes("alive");
  fixture.turns(3);
  CHECK(receive(client.get()) == "alive");
}

TEST_CASE("a link in the log's place is refused, not followed") {
  const test::TemporaryDirectory directory;
  REQUIRE(::symlink("/etc/passwd", (directory.path() + "/init.log").c_str()) == 0);
  try {
    const Console console(directory.path(), ::getuid());
    FAIL("followed");
  } catch (const Error& error) {
    CHECK(error.error_number() == ELOOP);
  }
}
