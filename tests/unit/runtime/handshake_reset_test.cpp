#include <doctest/doctest.h>

#include "base/error.h"
#include "runtime/handshake.h"

using namespace holm::runtime;

TEST_CASE("the reason of a half that ends without having read all is not lost") {
  auto [ours, theirs] = make_channel();
  ours.send(Message::root_ready);  // never read: the kernel reports a reset to us, ahead of the messages
  theirs.send(Message::failed, holm::Error("mount 'sys' failed").encode());
  theirs = Channel(holm::UniqueFd());
  CHECK_THROWS_WITH_AS(ours.expect(Message::executing), "mount 'sys' failed", holm::Error);
  CHECK(!ours.receive());
}

TEST_CASE("a half that ends without a word, and without having read all, has ended") {
  auto [ours, theirs] = make_channel();
  ours.send(Message::root_ready);
  theirs = Channel(holm::UniqueFd());
  CHECK(!ours.receive());
  CHECK(!ours.receive());
}
