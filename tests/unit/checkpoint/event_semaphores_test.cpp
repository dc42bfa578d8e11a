#include "checkpoint/event_semaphores.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/image_file.h"
#include "tests/support/image_messages.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::checkpoint;
using namespace holm::test;

namespace {

// Of CRIU's fdinfo.proto, eventfd.proto and regfile.proto.
enum Field : uint64_t { kType = 1, kId = 2, kReg = 3, kEfd = 8, kEfdFlags = 2, kEfdOwner = 3, kEfdCount = 4 };
enum Kind : uint64_t { kRegular = 1, kEvent = 6 };

ImageMessage event_file(uint64_t id, uint64_t flags, uint64_t count) {
  ImageMessage event(""), file("");
  event.set(1, id);
  event.set(kEfdFlags, flags);
  event.set(kEfdOwner, "owner");
  event.set(kEfdCount, count);
  file.set(kType, kEvent);
  file.set(kId, id);
  file.set(kEfd, event.text());
  return file;
}

ImageMessage descriptor(uint64_t id, uint64_t type) {
  ImageMessage made("");
  made.set(1, id);
  made.set(2, uint64_t{0});
  made.set(3, type);
  made.set(4, id + 10);
  return made;
}

void write(const TemporaryDirectory& images, const std::string& name,
           const std::vector<ImageMessage>& messages) {
  ImageFile image{"head", {}};
  for (const ImageMessage& message : messages) image.messages.push_back(message.text());
  write_image(images.path() + "/" + name, image);
}

std::vector<ImageMessage> read(const TemporaryDirectory& images, const std::string& name) {
  std::vector<ImageMessage> messages;
  for (const std::string& bytes : read_image(images.path() + "/" + name).messages)
    messages.emplace_back(bytes);
  return messages;
}

uint64_t take(const UniqueFd& fd) {
  uint64_t value = 0;
  return ::read(fd.get(), &value, sizeof value) == sizeof value ? value : 0;
}

}  // namespace

TEST_CASE("which eventfd is a semaphore") {
  CHECK(semaphore_number("pos:\t0\neventfd-count: 7\neventfd-id: 3\neventfd-semaphore: 1\n") == 3U);
  CHECK_FALSE(semaphore_number("eventfd-count:                7\neventfd-id: 3\neventfd-semaphore: 0\n"));
  CHECK_FALSE(semaphore_number("eventfd-count: 1\neventfd-id: 1\n"));  // before Linux 6.5
}

TEST_CASE("semaphores come from outside, with what they count, and others stay as they are") {
  const TemporaryDirectory images;
  write(images, "files.img", {event_file(1, O_RDWR, 5), event_file(2, O_RDWR | O_NONBLOCK, 3)});
  write(images, "fdinfo-4.img", {descriptor(1, kEvent), descriptor(2, kEvent), descriptor(2, kRegular)});
  name_semaphores(images.path(), {});
  CHECK(make_semaphores(images.path()).empty());
  name_semaphores(images.path(), {2});
  const auto descriptors = read(images, "fdinfo-4.img");
  CHECK(descriptors[0].number_at(3) == kEvent);
  CHECK(descriptors[1].number_at(3) == kRegular);
  const auto files = read(images, "files.img");
  CHECK(files[0].number_at(kType) == kEvent);
  CHECK_FALSE(files[0].has(kReg));
  CHECK(files[1].number_at(kType) == kRegular);
  const auto made = make_semaphores(images.path());
  REQUIRE(made.size() == 1);
  CHECK(made[0].key == "eventfd-semaphore[2]");
  for (int i = 0; i < 3; ++i) CHECK(take(made[0].fd) == 1);
  CHECK(take(made[0].fd) == 0);  // and it does not wait
}

TEST_CASE("eventfds from outside that no save has written are refused") {
  const TemporaryDirectory images;
  const auto is_refused = [&](const std::vector<ImageMessage>& files) {
    write(images, "files.img", files);
    try {
      make_semaphores(images.path());
      return false;
    } catch (const Error& error) {
      return error.message().contains("eventfds are damaged");
    }
  };
  ImageMessage without = event_file(1, 0, 1);
  without.set(kType, kRegular);
  CHECK(is_refused({without}));
  write(images, "files.img", {event_file(2, 0, 1)});
  name_semaphores(images.path(), {2});
  ImageMessage good = read(images, "files.img")[0], renamed = good, full = good;
  CHECK_FALSE(is_refused({good}));
  renamed.change(kReg, [](ImageMessage& file) { file.set(6, "/etc/passwd"); });
  CHECK(is_refused({renamed}));
  full.change(kEfd, [](ImageMessage& event) { event.set(kEfdCount, UINT64_MAX); });
  CHECK(is_refused({full}));
  CHECK_FALSE(is_refused(std::vector<ImageMessage>(kMaxSemaphores, good)));
  CHECK(is_refused(std::vector<ImageMessage>(kMaxSemaphores + 1, good)));
}
