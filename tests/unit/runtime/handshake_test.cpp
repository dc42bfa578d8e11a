#include "runtime/handshake.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"

using namespace holm;
using namespace holm::runtime;

namespace {

constexpr Message kAll[] = {Message::ids_mapped, Message::root_ready, Message::host_ready, Message::executing,
                            Message::failed,     Message::running,    Message::ended};

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

size_t open_descriptors() { return list_directory("/proc/self/fd").size(); }

void send_raw(const Channel& channel, const std::string& bytes) {
  REQUIRE(::send(channel.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(bytes.size()));
}

}  // namespace

TEST_CASE("every message arrives with its text, in order, in both directions") {
  auto [ours, theirs] = make_channel();
  for (const Message message : kAll) ours.send(message, message_name(message));
  for (const Message message : kAll) {
    const auto received = theirs.receive();
    REQUIRE(received);
    CHECK(received->message == message);
    CHECK(received->text == message_name(message));
    CHECK(received->fds.empty());
  }
  theirs.send(Message::executing);
  CHECK(ours.expect(Message::executing).text.empty());
}

TEST_CASE("messages have distinct names") {
  for (const Message a : kAll)
    for (const Message b : kAll)
      CHECK((a == b) == (std::string(message_name(a)) == std::string(message_name(b))));
  CHECK(std::string(message_name(static_cast<Message>(99))) == "unknown");
}

TEST_CASE("descriptors travel with a message and are close-on-exec at their arrival") {
  auto [ours, theirs] = make_channel();
  sys::Pipe pipe = sys::pipe();
  ours.send(Message::root_ready, "binds", {pipe.read_end.get(), pipe.write_end.get()});
  const auto received = theirs.receive();
  REQUIRE(received);
  REQUIRE(received->fds.size() == 2);
  for (const UniqueFd& fd : received->fds) CHECK((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
  sys::write_all(received->fds[1].get(), "hello", "pipe");
  char text[5] = {};
  CHECK(::read(pipe.read_end.get(), text, sizeof text) == 5);
  CHECK(std::string(text, 5) == "hello");
}

TEST_CASE("as many descriptors as the limit allows arrive, one more is refused before it is sent") {
  auto [ours, theirs] = make_channel();
  const UniqueFd null = sys::open("/dev/null", O_RDONLY);
  ours.send(Message::root_ready, "", std::vector<int>(kMaxHandshakeFds, null.get()));
  CHECK(theirs.receive()->fds.size() == kMaxHandshakeFds);
  CHECK(message_of([&] {
          ours.send(Message::root_ready, "", std::vector<int>(kMaxHandshakeFds + 1, null.get()));
        }) == "pass 65 descriptors: more than 64");
}

TEST_CASE("descriptors that nobody takes are closed") {
  auto [ours, theirs] = make_channel();
  const UniqueFd null = sys::open("/dev/null", O_RDONLY);
  const size_t before = open_descriptors();
  for (int i = 0; i < 10; ++i) {
    ours.send(Message::root_ready, "", {null.get(), null.get()});
    theirs.receive();
  }
  send_raw(ours, std::string(1, '\x63'));
  CHECK(message_of([&] { theirs.receive(); }) == "received an unknown message of type 99");
  CHECK(open_descriptors() == before);
}

TEST_CASE("the longest text arrives whole, a longer one is cut") {
  auto [ours, theirs] = make_channel();
  ours.send(Message::failed, std::string(kMaxHandshakeText, 'x'));
  CHECK(theirs.receive()->text == std::string(kMaxHandshakeText, 'x'));
  ours.send(Message::failed, std::string(kMaxHandshakeText, 'x') + "y");
  CHECK(theirs.receive()->text == std::string(kMaxHandshakeText, 'x'));
}

TEST_CASE("a message of an unknown type is an error") {
  for (const int type : {0, 8, 127, 255}) {
    auto [ours, theirs] = make_channel();
    send_raw(ours, std::string(1, static_cast<char>(type)) + "text");
    CHECK(message_of([&] { theirs.receive(); }) ==
          fmt::format("received an unknown message of type {}", type));
  }
}

TEST_CASE("a message longer than any of ours is an error, not a cut one") {
  auto [ours, theirs] = make_channel();
  send_raw(ours,
           std::string(1, static_cast<char>(Message::running)) + std::string(kMaxHandshakeText + 1, 'x'));
  CHECK(message_of([&] { theirs.receive(); }).starts_with("received an unknown message"));
}

TEST_CASE("the end of the stream is no message, and an error where one was due") {
  {
    auto [ours, theirs] = make_channel();
    ours = Channel(UniqueFd());
    CHECK_FALSE(theirs.receive());
  }
  auto [ours, theirs] = make_channel();
  theirs = Channel(UniqueFd());
  CHECK(message_of([&] { ours.expect(Message::executing); }) ==
        "the other half ended before it said 'executing'");
}

TEST_CASE("what was said before the end is still heard") {
  auto [ours, theirs] = make_channel();
  theirs.send(Message::executing);
  theirs = Channel(UniqueFd());
  CHECK(ours.expect(Message::executing).message == Message::executing);
  CHECK_FALSE(ours.receive());
}

TEST_CASE("a message that is not due is an error that names both") {
  auto [ours, theirs] = make_channel();
  theirs.send(Message::ids_mapped);
  CHECK(message_of([&] { ours.expect(Message::executing); }) ==
        "received 'ids_mapped' where 'executing' was due");
}

TEST_CASE("an error of the other half arrives with step, places, hints and exit status") {
  auto [ours, theirs] = make_channel();
  Error sent = Error::system(EPERM, "mount 'proc' on '/proc'");
  sent.step("mount file systems").at("inside the container").hint("start Holm outside of it").also("undo");
  sent.exit_status(kExitNotFound);
  theirs.send(Message::failed, sent.encode());
  try {
    ours.expect(Message::executing);
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.report() == sent.report());
    CHECK(error.message() == "mount 'proc' on '/proc': Operation not permitted (EPERM)");
    CHECK(error.exit_status() == kExitNotFound);
    CHECK(error.error_number() == EPERM);
  }
}

TEST_CASE("an error too long for a message keeps the beginning of what it says") {
  auto [ours, theirs] = make_channel();
  theirs.send(Message::failed, Error("execute '" + std::string(2 * kMaxHandshakeText, 'x')).encode());
  CHECK(message_of([&] { ours.expect(Message::executing); }).starts_with("execute 'xxxx"));
}

TEST_CASE("a send to a half that ended is an error, not a signal") {
  auto [ours, theirs] = make_channel();
  theirs = Channel(UniqueFd());
  CHECK(message_of([&] { ours.send(Message::ids_mapped); }) ==
        "send 'ids_mapped' to the other half: Broken pipe (EPIPE)");
}
