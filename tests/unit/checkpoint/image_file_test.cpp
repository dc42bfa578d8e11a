#include "checkpoint/image_file.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::checkpoint;
using holm::test::TemporaryDirectory;

namespace {

const std::string kCommon("\x19\x43\x56\x54", 4);
const std::string kOwn("\x01\x02\x03\x04", 4);

std::string with_length(const std::string& message) {
  const auto size = static_cast<uint32_t>(message.size());
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + message;
}

class Scratch {
 public:
  ImageFile read(const std::string& text) const {
    replace_file(path(), text);
    return read_image(path());
  }
  std::string refusal(const std::string& text) const {
    try {
      read(text);
    } catch (const Error& error) {
      return error.message();
    }
    return "";
  }
  std::string path() const { return directory_.path() + "/core-1.img"; }

 private:
  TemporaryDirectory directory_;
};

}  // namespace

TEST_CASE("of an image with data behind its message that message is read, and no half of one") {
  const Scratch scratch;
  replace_file(scratch.path(), kCommon + kOwn + with_length("first") + std::string(1'000'000, 'x'));
  CHECK(read_first_message(scratch.path()) == "first");
  for (const std::string& damaged : {std::string("\x19"), kCommon + kOwn, kCommon + kOwn + "\x05\x00",
                                     kCommon + kOwn + with_length("first").substr(0, 8)}) {
    replace_file(scratch.path(), damaged);
    CHECK_THROWS_AS(read_first_message(scratch.path()), Error);
  }
}

TEST_CASE("an image's messages are read, and written back byte for byte") {
  const Scratch scratch;
  const std::string text =
      kCommon + kOwn + with_length("first") + with_length("") + with_length(std::string(70'000, '\0'));
  const ImageFile image = scratch.read(text);
  CHECK(image.head == kCommon + kOwn);
  REQUIRE(image.messages.size() == 3);
  CHECK(image.messages[0] == "first");
  CHECK(image.messages[1].empty());
  CHECK(image.messages[2].size() == 70'000);
  write_image(scratch.path(), image);
  CHECK(read_file(scratch.path()) == text);
}

TEST_CASE("an image without the common magic number has one of its own") {
  const Scratch scratch;
  const ImageFile image = scratch.read(kOwn + with_length("x"));
  CHECK(image.head == kOwn);
  CHECK(image.messages == std::vector<std::string>{"x"});
  CHECK(scratch.read(kCommon + kOwn).messages.empty());
}

TEST_CASE("messages may be changed and added") {
  const Scratch scratch;
  ImageFile image = scratch.read(kCommon + kOwn + with_length("abc"));
  image.messages[0] = "longer than before";
  image.messages.emplace_back("more");
  write_image(scratch.path(), image);
  CHECK(read_image(scratch.path()).messages == image.messages);
}

TEST_CASE("what ends in the middle, or has a length beyond its end, is refused") {
  const Scratch scratch;
  const std::string whole = kCommon + kOwn + with_length("first") + with_length("second");
  const size_t boundaries[] = {8, 17, whole.size()};
  for (size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    const bool is_boundary = std::ranges::find(boundaries, size) != std::end(boundaries);
    CHECK((scratch.refusal(whole.substr(0, size)) == "'" + scratch.path() + "' is no image of CRIU's") ==
          !is_boundary);
  }
  for (const uint32_t length : {0xffffffffU, 0x80000000U, 6U}) {
    std::string text = kCommon + kOwn + with_length("first");
    text.replace(8, 4, std::string(reinterpret_cast<const char*>(&length), 4));
    CHECK(!scratch.refusal(text).empty());
  }
}

TEST_CASE("whatever the bytes are, it reads them or refuses them") {
  const Scratch scratch;
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    std::string text = kCommon + kOwn;
    for (auto size = random() % 40; size > 0; --size) text += static_cast<char>(random() % 8);
    const std::string refusal = scratch.refusal(text);
    if (!refusal.empty()) continue;
    write_image(scratch.path(), read_image(scratch.path()));
    CHECK(read_file(scratch.path()) == text);
  }
}
