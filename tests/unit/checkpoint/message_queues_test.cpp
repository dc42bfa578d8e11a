#include "checkpoint/message_queues.h"

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/image_file.h"
#include "checkpoint/message_queues.pb.h"
#include "tests/support/image_messages.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::checkpoint;
using namespace holm::test;

namespace {

// Fields of message_queues.proto.
enum QueueField : uint64_t {
  kName = 1,
  kIsRemoved,
  kInode,
  kMode,
  kUid,
  kGid,
  kMaxMessages,
  kMaxSize,
  kMessages
};
// Of CRIU's mnt.proto, fdinfo.proto, regfile.proto.
enum CriuField : uint64_t {
  kMountId = 2,
  kMountRoot = 6,
  kMountPoint = 7,
  kMountKey = 18,
  kFileReg = 3,
  kRegName = 6,
  kRegMount = 7,
  kRegExternal = 9
};
constexpr const char* kHead = "head";

ImageMessage message(const std::string& content, uint64_t priority) {
  ImageMessage made("");
  made.set(1, priority);
  made.set(2, content);
  return made;
}

ImageMessage queue() {
  ImageMessage made("");
  made.set(kName, "jobs");
  for (const auto& [field, value] : {std::pair{kIsRemoved, 0},
                                     {kInode, 43},
                                     {kMode, 0640},
                                     {kUid, 7},
                                     {kGid, 8},
                                     {kMaxMessages, 3},
                                     {kMaxSize, 10}})
    made.set(field, static_cast<uint64_t>(value));
  made.set(kMessages, message("hello", 5).text());
  return made;
}

void write(const TemporaryDirectory& images, const std::string& name,
           const std::vector<std::string>& messages) {
  write_image(images.path() + "/" + name, {kHead, messages});
}

ImageMessage mount(uint64_t id, const std::string& root, const std::string& point, const std::string& key) {
  ImageMessage made("");
  for (const uint64_t field : {1, 3, 4, 5}) made.set(field, uint64_t{14});
  made.set(kMountId, id);
  made.set(kMountRoot, root);
  made.set(kMountPoint, point);
  made.set(8, "mqueue");
  made.set(9, "");
  if (!key.empty()) made.set(kMountKey, key);
  return made;
}

ImageMessage file(const std::string& name, bool is_external) {
  ImageMessage reg(""), made("");
  reg.set(kRegName, name);
  if (is_external) reg.set(kRegExternal, uint64_t{1});
  made.set(1, uint64_t{1});
  made.set(2, uint64_t{9});
  made.set(kFileReg, reg.text());
  return made;
}

std::vector<ImageMessage> read(const TemporaryDirectory& images, const std::string& name) {
  std::vector<ImageMessage> messages;
  for (const std::string& bytes : read_image(images.path() + "/" + name).messages)
    messages.emplace_back(bytes);
  return messages;
}

ImageMessage reg_of(ImageMessage file) {
  ImageMessage found("");
  file.change(kFileReg, [&](ImageMessage& reg) { found = reg; });
  return found;
}

// Images with one queue, its mount, and two files.
void write_images(const TemporaryDirectory& images, const std::string& opened) {
  ImageMessage ids("");
  ids.set(9, uint64_t{5});
  write(images, "ids-1.img", {ids.text()});
  write(images, "mountpoints-5.img",
        {mount(1, "/", "/dev/null", "node-null").text(), mount(2, "/part", "/x", "queues").text(),
         mount(3, "/", "/dev/mqueue", "queues").text()});
  write(images, "mountpoints-6.img", {mount(4, "/", "/dev/mqueue", "queues").text()});
  write(images, "files.img", {file("/etc/passwd", false).text(), file(opened, true).text()});
  write(images, "message-queues.img", {queue().text()});
}

QueueObjects with_mount() {
  QueueObjects found;
  found.mount = QueueObjects::Mount{3, "/dev/mqueue", 0};
  return found;
}

}  // namespace

TEST_CASE("what a queue's file says") {
  const QueueState state = parse_queue_state("QSIZE:129        NOTIFY:1     SIGNO:0     NOTIFY_PID:4711  \n");
  CHECK(state.bytes == 129);
  CHECK(state.notified == 4711);
  CHECK(parse_queue_state("QSIZE:0 NOTIFY:0 SIGNO:0 NOTIFY_PID:0").notified == 0);
  CHECK(parse_queue_state("").bytes == 0);
}

TEST_CASE("descriptors of queues become files of their mount") {
  const TemporaryDirectory images;
  write_images(images, queue_file_external(0x1f, 43));
  name_queues(images.path(), with_mount());
  const auto files = read(images, "files.img");
  CHECK(files[0].text() == file("/etc/passwd", false).text());
  ImageMessage expected("");
  expected.set(kRegName, "/dev/mqueue/jobs");
  expected.set(kRegMount, uint64_t{6});  // 3, zigzag
  CHECK(reg_of(files[1]).text() == expected.text());
  const auto mounts = read(images, "mountpoints-5.img");
  CHECK(mounts[0].has(kMountKey));
  for (const ImageMessage& one : {mounts[1], mounts[2], read(images, "mountpoints-6.img")[0]})
    CHECK_FALSE(one.has(kMountKey));
}

TEST_CASE("an open queue that was not saved, or has no mount, is no checkpoint") {
  const TemporaryDirectory images;
  write_images(images, queue_file_external(0x1f, 44));
  CHECK_THROWS_WITH_AS(name_queues(images.path(), with_mount()), doctest::Contains("was not saved"), Error);
  write_images(images, queue_file_external(0x1f, 43));
  CHECK_THROWS_WITH_AS(name_queues(images.path(), {}), doctest::Contains("was not saved"), Error);
}

TEST_CASE("queues that none can be are refused") {
  const TemporaryDirectory images;
  const auto is_taken = [&](const std::function<void(ImageMessage&)>& change) {
    ImageMessage changed = queue();
    change(changed);
    write(images, "message-queues.img", {queue().text(), changed.text()});
    try {
      read_queues(images.path());
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  CHECK(read_queues(images.path()).empty());
  CHECK(is_taken([](ImageMessage&) {}));
  CHECK(is_taken([](ImageMessage& queue) { queue.set(kName, std::string(255, 'x')); }));
  for (const std::string& name : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                                  std::string("/a"), std::string("a\0b", 3), std::string(256, 'x')}) {
    CAPTURE(name);
    CHECK_FALSE(is_taken([&](ImageMessage& queue) { queue.set(kName, name); }));
  }
  const std::vector<std::pair<uint64_t, uint64_t>> values = {
      {kMode, 0104644}, {kMaxMessages, 0}, {kMaxMessages, UINT64_MAX}, {kMaxSize, 0}, {kMaxSize, 4}};
  for (const auto& [field, value] : values) {
    CAPTURE(field);
    CAPTURE(value);
    CHECK_FALSE(is_taken([&](ImageMessage& queue) { queue.set(field, value); }));
  }
  CHECK_FALSE(is_taken([](ImageMessage& queue) { queue.remove(kUid); }));
  CHECK_FALSE(is_taken([](ImageMessage& queue) { queue.set(kMessages, message("x", 32768).text()); }));
  CHECK_FALSE(is_taken([](ImageMessage& queue) { queue.set(kMessages, "nonsense"); }));
}
