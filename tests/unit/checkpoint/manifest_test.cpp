#include "checkpoint/manifest.h"

#include <doctest/doctest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"

using namespace holm;
using namespace holm::checkpoint;
using nlohmann::json;

namespace {

Manifest full() {
  Manifest manifest;
  manifest.holm = "1.2.3";
  manifest.name = "web";
  manifest.uuid = "b3a8f5d2-0000-4000-8000-000000000001";
  manifest.config = "template = \"busybox\"\n# \xc3\xa4 \"quoted\"\n";
  manifest.saved_at = 1'700'000'100;
  manifest.started_at = 1'700'000'000;
  manifest.was_paused = true;
  manifest.first_id = 589'824;
  manifest.template_made = "2026-01-02 03:04:05";
  manifest.files = Files::archived;
  manifest.host = {"6.12.1", "x86_64", "4.2.1", "A CPU", {"fpu", "avx2"}};
  manifest.console = "tty[8800:1a]";
  manifest.mounts = {{"node-null", "null"}, {"bind-0", ""}};
  manifest.links = {{"eth0", "02:00:00:aa:bb:cc", {"10.0.3.10/24", "fd00::10/64"}}};
  manifest.pipes = {"pipe:[1234]"};
  manifest.groups = {{"", {{"", 0, 0, {}}, {"system.slice", 0, 5, {{"cpu.max", "50000 100000"}}}}},
                     {"name=systemd", {}}};
  manifest.processes = {{1, 0, "/sbin/init", 2, 4096, 8192, 7, 1}};
  manifest.counters = {{"cputime", 5'000'000'000, 5'000'000'000, 0}, {"physpages", 100, 2000, 3}};
  manifest.memory_pages = uint64_t{1} << 40;
  manifest.parts = {{"files.tar", 10, std::string(64, 'a')},
                    {"images/pages-1.img", uint64_t{1} << 40, std::string(64, '0')}};
  return manifest;
}

// The message of the Error; empty where there is none.
std::string refusal(const std::function<void(json&)>& change) {
  json value = json::parse(encode_manifest(full()));
  change(value);
  try {
    decode_manifest(value.dump());
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

bool refuses(const std::string& words, const std::function<void(json&)>& change) {
  const std::string message = refusal(change);
  const bool does = message.find(words) != std::string::npos;
  if (!does) MESSAGE("it says: ", message);
  return does && !message.empty();
}

}  // namespace

TEST_CASE("a manifest comes back as it was written") {
  const Manifest before = full(), after = decode_manifest(encode_manifest(before));
  CHECK(encode_manifest(after) == encode_manifest(before));
  CHECK(after.format == kFormat);
  CHECK(after.config == before.config);
  CHECK(after.was_paused);
  CHECK(after.first_id == 589'824);
  CHECK(after.files == Files::archived);
  CHECK(after.host.cpu_flags == std::vector<std::string>{"fpu", "avx2"});
  CHECK(after.mounts[1].key == "bind-0");
  CHECK(after.links[0].addresses[1] == "fd00::10/64");
  CHECK(after.groups[0].groups[1].values.at("cpu.max") == "50000 100000");
  CHECK(after.groups[0].groups[1].gid == 5);
  CHECK(after.processes[0].threads == 2);
  REQUIRE(after.counters.size() == 2);
  CHECK(after.counters[1].name == "physpages");
  CHECK(after.counters[1].failures == 3);
  CHECK(after.parts[1].size == uint64_t{1} << 40);
  CHECK(after.parts[0].digest == std::string(64, 'a'));
  CHECK(after.digest_kind == DigestKind::sha256);
}

TEST_CASE("the faster digest is shorter, and neither passes for the other") {
  Manifest manifest = full();
  manifest.digest_kind = DigestKind::xxh128;
  for (Part& part : manifest.parts) part.digest = std::string(32, 'b');
  CHECK(decode_manifest(encode_manifest(manifest)).digest_kind == DigestKind::xxh128);
  CHECK(refuses("part 'files.tar' has no digest", [](json& m) { m["digest"] = "xxh128"; }));
  CHECK(refuses("'digest' is 'md5'", [](json& m) { m["digest"] = "md5"; }));
}

TEST_CASE("names that are no UTF-8 do not keep a manifest from being written and read") {
  Manifest manifest = full();
  manifest.processes[0].command = "\xff\xfe bad";
  CHECK(decode_manifest(encode_manifest(manifest)).processes[0].command.find(" bad") != std::string::npos);
}

TEST_CASE("a newer format is refused with what to do, and one that never was, too") {
  CHECK(refuses("it has format 2, and this Holm reads up to 1", [](json& m) { m["format"] = kFormat + 1; }));
  CHECK(refuses("it has format 0", [](json& m) { m["format"] = 0; }));
  CHECK(refuses("it has format -1", [](json& m) { m["format"] = -1; }));
  CHECK(refuses("'format' is 4294967297", [](json& m) { m["format"] = 4294967297; }));
  CHECK(refuses("'format' is 1.5", [](json& m) { m["format"] = 1.5; }));
}

TEST_CASE("numbers that do not fit are refused, not cut") {
  CHECK(refuses("'first_id' is -1", [](json& m) { m["first_id"] = -1; }));
  CHECK(refuses("'first_id' is 4294967296", [](json& m) { m["first_id"] = 4294967296; }));
  CHECK(refuses("'uid' is 4294967296", [](json& m) { m["groups"][0]["groups"][0]["uid"] = 4294967296; }));
  CHECK(refuses("'saved_at' is 1e+300", [](json& m) { m["saved_at"] = 1e300; }));
  CHECK(refuses("'size' is -1", [](json& m) { m["parts"][0]["size"] = -1; }));
  CHECK(refuses("damaged", [](json& m) { m["saved_at"] = "now"; }));
  CHECK(refuses("'threads' is -3", [](json& m) { m["processes"][0]["threads"] = -3; }));
}

TEST_CASE("parts are files of the checkpoint's own directories only") {
  for (const char* path : {"../x", "images/../x", "images/a/b", "/etc/passwd", "images/", "", "manifest.json",
                           ".hidden", "images/.hidden", "a b", "a\nb", "images//a", "images/images/x"}) {
    CAPTURE(path);
    CHECK(refuses("is no name of a part", [&](json& m) { m["parts"][0]["path"] = path; }));
  }
  CHECK(refuses("is no name of a part", [](json& m) { m["parts"][0]["path"] = std::string(201, 'x'); }));
  CHECK(refuses("part 'files.tar' is there twice", [](json& m) { m["parts"].push_back(m["parts"][0]); }));
  for (const std::string& digest : {std::string(), std::string(63, '0'), std::string(65, '0'),
                                    std::string(64, 'A'), std::string(64, 'g')}) {
    CAPTURE(digest);
    CHECK(refuses("has no digest", [&](json& m) { m["parts"][0]["digest"] = digest; }));
  }
}

TEST_CASE("counters have plain names, and numbers to which more can be added") {
  CHECK(refuses("is no counter", [](json& m) { m["counters"][0]["name"] = "cpu time"; }));
  CHECK(refuses("is no counter", [](json& m) { m["counters"][0]["name"] = ""; }));
  CHECK(refuses("is no counter", [](json& m) { m["counters"][0]["name"] = std::string(65, 'x'); }));
  CHECK(refuses("'held' is -1", [](json& m) { m["counters"][0]["held"] = -1; }));
  CHECK(refuses("the counter 'physpages' has", [](json& m) { m["counters"][1]["peak"] = UINT64_MAX; }));
  CHECK(refuses("more than 1000 counters", [](json& m) {
    for (int i = 0; i < 1000; ++i) m["counters"].push_back(m["counters"][0]);
  }));
}

TEST_CASE("a name that is none of a container, and words that are not known, are refused") {
  for (const char* name : {"../x", "", "a/b", "a.b", "-a", "A B"}) {
    CAPTURE(name);
    CHECK(refuses("is no container name", [&](json& m) { m["name"] = name; }));
  }
  CHECK(refuses("'files' is 'elsewhere'", [](json& m) { m["files"] = "elsewhere"; }));
}

TEST_CASE("what is missing or of another kind is told as damage, whatever it is") {
  const json good = json::parse(encode_manifest(full()));
  for (const auto& [key, value] : good.items()) {
    CAPTURE(key);
    CHECK(!refusal([&](json& m) { m.erase(key); }).empty());
    for (const json& other : {json(), json(-1), json("x"), json::array({1}), json::object({{"a", 1}})}) {
      if (other.type() == value.type() || (other.is_number() && value.is_number())) continue;
      CAPTURE(other.dump());
      CHECK(!refusal([&](json& m) { m[key] = other; }).empty());
    }
  }
}

TEST_CASE("what is no manifest at all is damage, and its message is safe for a terminal") {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"), std::string("7"),
        std::string("\x1b[31m"), std::string("{\"\x1b]0;x\x07\": 1}"), std::string(1000, '\0')}) {
    CAPTURE(text.size());
    try {
      decode_manifest(text);
      CHECK(false);
    } catch (const Error& error) {
      const std::string message = error.message();
      CHECK_MESSAGE(message.find("damaged") != std::string::npos, message);
      for (const char c : message) CHECK(c >= ' ');
    }
  }
}
