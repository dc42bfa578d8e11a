// Checkpoints of which something is missing or changed: what is noticed before
// CRIU starts, and that whatever is noticed by nobody does no harm.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/sys.h"
#include "tests/support/evil_checkpoint.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;

namespace {

std::string flipped(std::string text, size_t at, int bits) {
  text[at] = static_cast<char>(text[at] ^ bits);
  return text;
}

std::set<std::string> scratch_directories() {
  std::set<std::string> found;
  for (const std::string& name : list_directory("/var/tmp"))
    if (name.starts_with("holm-checkpoint.")) found.insert(name);
  return found;
}

}  // namespace

TEST_CASE(
    "a part with one flipped bit, a part without its end and one that is "
    "missing are noticed at once") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const EvilTag scene;
  scene.make_evil();
  std::vector<std::string> parts = {"files.tar"};
  for (const std::string& name : scene.images()) parts.push_back("images/" + name);
  CHECK(parts.size() > 20);
  for (const std::string& part : part_of(parts)) {
    CAPTURE(part);
    const std::string path = scene.evil() + "/" + part, text = read_all(path);
    const std::string named = "the checkpoint is damaged: its part '" + part + "' ";
    if (!text.empty()) {
      replace_file(path, flipped(text, text.size() / 2, 1));
      scene.refuses_at_once(named + "is not what was saved");
    }
    for (const size_t size : {size_t{0}, text.size() / 3, text.size() - 1}) {
      if (size >= text.size()) continue;
      replace_file(path, text.substr(0, size));
      scene.refuses_at_once(fmt::format("{}has {} bytes, and should have {}", named, size, text.size()));
    }
    sys::remove_file(path);
    scene.refuses_at_once(named + "is missing\n  at:   step 'verify the parts'");
    replace_file(path, text);
  }
  // The good one is none the worse for it.
  scene.installation.holm_ok({"restore", "box", "good"});
  CHECK(scene.rights_of_init() == scene.rights);
}

TEST_CASE("what is none of a checkpoint's parts, or no file, is noticed at once") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const EvilTag scene;
  scene.make_evil();
  for (const std::string name : {"images/more.img", "more"}) {
    replace_file(scene.evil() + "/" + name, "");
    scene.refuses_at_once("the checkpoint is damaged: '" + name + "' in it is none of its parts");
    sys::remove_file(scene.evil() + "/" + name);
  }
  const std::string image = scene.evil() + "/images/pstree.img";
  const std::string away = scene.installation.directory() + "/away";
  sys::rename(image, away);
  const auto refuses = [&](const char* what, const std::string& words) {
    CAPTURE(what);
    scene.refuses_at_once(words);
    sys::remove_tree(image);
  };
  CHECK(::symlink(away.c_str(), image.c_str()) == 0);
  refuses("a symbolic link", "images/pstree.img");
  sys::make_directory(image, 0755);
  refuses("a directory", "'images/pstree.img' of the checkpoint is no regular file");
  CHECK(::mkfifo(image.c_str(), 0600) == 0);
  refuses("a FIFO", "'images/pstree.img' of the checkpoint is no regular file");
  CHECK(::mknod(image.c_str(), S_IFCHR | 0600, 0x103) == 0);  // null
  refuses("a device", "'images/pstree.img' of the checkpoint is no regular file");
  // Many names for one file: what is rewritten must not be what somebody else
  // has.
  CHECK(::link(away.c_str(), image.c_str()) == 0);
  const std::string text = read_all(away);
  scene.restores_tamed();
  CHECK(read_all(away) == text);
}

TEST_CASE(
    "a suspended container whose checkpoint is damaged is not started, "
    "and can be started fresh") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", counter());
  CHECK(counts_beyond(installation, "box", 2));
  installation.holm_ok({"stop", "--checkpoint", "box"});
  const std::string directory = installation.state_directory() + "/containers/box/checkpoint/suspended/";
  for (const std::string& name : part_of(list_directory(directory + "images"))) {
    CAPTURE(name);
    const std::string path = directory + "images/" + name, text = read_all(path);
    if (text.empty()) continue;
    replace_file(path, flipped(text, text.size() - 1, 0x40));
    const Result result = installation.holm({"start", "box"});
    CHECK(result.status == 1);
    CHECK_MESSAGE(result.errors.contains("its part 'images/" + name + "' is not what was saved"),
                  result.errors);
    CHECK(installation.column("box", "state") == "suspended");
    replace_file(path, text);
  }
  replace_file(directory + "manifest.json", "{}");
  const Result result = installation.holm({"start", "box"});
  CHECK_MESSAGE(result.errors.contains("read the checkpoint's manifest: damaged"), result.errors);
  CHECK(installation.column("box", "state") == "suspended");
  installation.holm_ok({"start", "--fresh", "box"});
  CHECK(installation.column("box", "state") == "running");
}

TEST_CASE(
    "a checkpoint file is refused whole where a byte of it is flipped or "
    "its end is missing") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const std::set<std::string> before = scratch_directories();  // of runs that were killed
  const EvilFile scene;
  const std::string text = read_all(scene.good());
  for (size_t i = 0; i < 36; ++i) {
    if (!is_in_part(i)) continue;
    const size_t at = text.size() * i / 36;
    CAPTURE(at);
    replace_file(scene.evil(), flipped(text, at, 0xff));
    scene.refuses_evil();
  }
  for (size_t i = 0; i < 24; ++i) {
    if (!is_in_part(i)) continue;
    const size_t size = i == 23 ? text.size() - 1 : text.size() * i / 23;
    CAPTURE(size);
    replace_file(scene.evil(), text.substr(0, size));
    scene.refuses_evil();
    CHECK(scene.installation.holm({"checkpoint", "inspect", scene.evil()}).status == 1);
  }
  for (const std::string& other : {std::string(100'000, 'x'), std::string(100'000, '\0'), std::string()}) {
    replace_file(scene.evil(), other);
    scene.refuses_evil();
  }
  // Also of those that others look into.
  CHECK(eventually([&] { return std::ranges::includes(before, scratch_directories()); }));
  scene.installation.holm_ok({"restore", scene.good()});
  CHECK(counts_beyond(scene.installation, "box", counted(scene.installation, "box")));
}

TEST_CASE(
    "pages that are not those that their list names are noticed before "
    "CRIU waits for them") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const EvilTag scene;
  std::string image;
  for (const std::string& name : scene.images())
    if (name.starts_with("pages-")) image = scene.evil() + "/images/" + name;
  REQUIRE_FALSE(image.empty());
  const std::string text = read_all(scene.store() + "good" + image.substr(scene.evil().size()));
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const std::vector<std::pair<std::string, std::string>> contents = {
      {"none", ""},
      {"one page less", text.substr(page)},
      {"one byte less", text.substr(1)},
      {"one page more", text + std::string(page, 'x')}};
  for (const auto& [what, content] : contents) {
    CAPTURE(what);
    scene.make_evil();
    replace_file(image, content);
    scene.digest_anew();
    scene.refuses_at_once("it is damaged: its pages are not those that its list names");
  }
  scene.make_evil();
  sys::remove_file(image);
  scene.change_manifest([&](json& m) {
    std::erase_if(m["parts"].get_ref<json::array_t&>(),
                  [&](const json& part) { return image.ends_with("/" + part["path"].get<std::string>()); });
  });
  scene.refuses_at_once("its pages are not those that its list names");
  const auto refuses_ranges = [&](const std::string& words, auto change) {
    scene.make_evil("pagemap-", [&](ImageMessage& range) {
      if (range.has(criu::kRangeCount)) change(range, range.has(criu::kRangePages));
    });
    scene.refuses_at_once(words);
  };
  // CRIU before 4.0 has the number in the older field alone.
  refuses_ranges("its pages are not those", [](ImageMessage& range, bool is_long) {
    const auto field = is_long ? criu::kRangePages : criu::kRangeCount;
    range.set(field, range.number_at(field) + 1);
  });
  refuses_ranges("its pages are not those", [](ImageMessage& range, bool is_long) {
    range.set(is_long ? criu::kRangePages : criu::kRangeCount, is_long ? ~uint64_t{0} : uint64_t{UINT32_MAX});
  });
  refuses_ranges("its pages are not those", [](ImageMessage& range, bool) {
    range.set(criu::kRangeFlags, uint64_t{2});
  });  // for post-copy
  refuses_ranges("it has pages in an earlier",
                 [](ImageMessage& range, bool) { range.set(criu::kRangeInParent, uint64_t{1}); });
}

TEST_CASE(
    "an image that is empty, garbage or changed somewhere does no harm "
    "where its digest fits") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const EvilTag scene;
  size_t number = 0;
  for (const std::string& name : scene.images()) {
    const std::string text = read_all(scene.store() + "good/images/" + name);
    const bool is_cut = number % 2 == 0;
    const std::vector<std::pair<std::string, std::string>> contents = {
        {"empty", ""},
        {"garbage", std::string(5000, '\xff')},
        is_cut ? std::pair("without its end", text.substr(0, text.size() * 2 / 3))
               : std::pair("changed", text.empty() ? "x" : flipped(text, text.size() * 7 / 8, 0x15))};
    for (const auto& [what, content] : contents) {
      if (!is_in_part(number++) || content == text) continue;
      CAPTURE(name);
      CAPTURE(what);
      scene.make_evil();
      replace_file(scene.evil() + "/images/" + name, content);
      scene.digest_anew();
      scene.is_harmless();
    }
  }
}
