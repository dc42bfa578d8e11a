#include "checkpoint/image_pages.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "checkpoint/image_file.h"
#include "checkpoint/pre_dump.h"
#include "runtime/suspended.h"
#include "tests/support/image_messages.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::checkpoint;
using namespace holm::test;

namespace {

constexpr uint32_t kInParent = 1, kPresent = 4;

std::string message(const std::vector<std::pair<uint64_t, uint64_t>>& fields) {
  ImageMessage message("");
  for (const auto& [number, value] : fields) message.add(number, value);
  return message.text();
}

void write_list(const std::string& images, const std::string& name, uint32_t pages_id,
                const std::vector<std::pair<uint64_t, uint32_t>>& ranges) {
  ImageFile image{std::string("\x19\x43\x56\x54kind", 8), {message({{1, pages_id}})}};
  for (const auto& [count, flags] : ranges)
    image.messages.push_back(message({{criu::kRangeAddress, 0x1000},
                                      {criu::kRangeCount, count & UINT32_MAX},
                                      {criu::kRangeFlags, flags},
                                      {criu::kRangePages, count}}));
  write_image(images + "/" + name, image);
}

void write_pages(const std::string& images, uint32_t pages_id, size_t count, size_t more = 0) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  replace_file(images + "/pages-" + std::to_string(pages_id) + ".img", std::string(count * page + more, 'x'));
}

}  // namespace

TEST_CASE("a list of pages and its file must have the same number of them") {
  const TemporaryDirectory directory;
  const std::string images = directory.path();
  write_list(images, "pagemap-1.img", 7, {{2, kPresent}, {3, kPresent}});
  CHECK_THROWS_AS(check_pages(images), Error);  // there is no file
  write_pages(images, 7, 5);
  CHECK_NOTHROW(check_pages(images));
  for (const auto& [count, more] : std::vector<std::pair<size_t, size_t>>{{4, 0}, {6, 0}, {5, 1}, {0, 0}}) {
    write_pages(images, 7, count, more);
    CHECK_THROWS_AS(check_pages(images), Error);
  }
  write_pages(images, 7, 5);
  write_list(images, "pagemap-1.img", 7, {{UINT64_MAX, kPresent}, {6, kPresent}});
  CHECK_THROWS_AS(check_pages(images), Error);
  write_list(images, "pagemap-1.img", 7, {{5, 0}});
  CHECK_THROWS_AS(check_pages(images), Error);
  replace_file(images + "/pagemap-1.img", "no list");
  CHECK_THROWS_AS(check_pages(images), Error);
}

TEST_CASE("pages in an earlier list are counted there") {
  const TemporaryDirectory directory;
  const std::string images = directory.path();
  write_list(images, "pagemap-1.img", 1, {{4, kInParent}, {1, kPresent}});
  write_pages(images, 1, 1);
  CHECK_THROWS_AS(check_pages(images), Error);
  sys::make_directories(images + "/parent", 0700);
  CHECK_THROWS_AS(check_pages(images), Error);
  write_list(images + "/parent", "pagemap-1.img", 1, {{4, kPresent}});
  CHECK_THROWS_AS(check_pages(images), Error);
  write_pages(images + "/parent", 1, 4);
  CHECK_NOTHROW(check_pages(images));
}

TEST_CASE("memory that was saved before is taken by the checkpoint of the same run alone") {
  const TemporaryDirectory directory;
  runtime::Paths paths;
  paths.state = directory.path();
  runtime::State state;
  state.name = "box";
  state.boot_id = "boot";
  state.init = {42, 4711};
  const std::string store = runtime::pre_dump_store(paths, "box"), draft = directory.path() + "/draft";
  const auto make = [&](const std::string& run) {
    for (const char* level : {"/1", "/2"}) {
      sys::make_directories(store + level, 0700);
      for (const char* name : {"/pagemap-1.img", "/pages-1.img", "/inventory.img"})
        replace_file(store + level + name, level);
    }
    replace_file(store + "/of", run);
    sys::remove_tree(draft);
    sys::make_directories(draft + "/images", 0700);
  };
  const std::string run = "boot 42 4711\n";
  make("boot 42 4712\n");
  CHECK(take_pre_dumps(paths, state, draft) == "");
  CHECK_FALSE(sys::exists(store));
  make(run);
  sys::make_directories(store + "/3.new", 0700);  // interrupted
  CHECK(take_pre_dumps(paths, state, draft) == "");
  CHECK_FALSE(sys::exists(store));
  make(run);
  CHECK(take_pre_dumps(paths, state, draft) == "../pre/2");
  CHECK_FALSE(sys::exists(store));
  keep_pre_dumps(draft);
  CHECK(list_directory(draft) == std::vector<std::string>{"images"});
  CHECK(read_file(draft + "/images/parent/pages-1.img") == "/2");
  CHECK(read_file(draft + "/images/parent/parent/pages-1.img") == "/1");
  CHECK_FALSE(sys::exists(draft + "/images/parent/inventory.img"));
  CHECK(take_pre_dumps(paths, state, draft) == "");
}
