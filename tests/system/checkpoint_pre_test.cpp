// Memory that is saved before its checkpoint.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/support/criu.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

bool kernel_tracks_memory() {
  return have_criu() &&
         run_host({"sh", "-c", "exec " + criu_program() + " check --feature mem_dirty_track"}).status == 0;
}

constexpr uint64_t kText = 24 << 20;

// Holds a text of 24 MB, and writes its digest down when it is asked. It begins no process else: a child that
// has not executed its program yet has a copy of the text, and that is rightly saved, too.
std::string keeper() {
  return shell(
      fmt::format("(i=0; while :; do i=$((i+1)); echo $i >> /root/count; sleep 0.02; "
                  "if [ -e /root/ask ] && [ -e /root/ready ]; then rm /root/ask; kill -USR1 1; fi; done) & "
                  "x=$(head -c {} /dev/urandom | tr -c a-z a); "
                  "trap 'echo \"$x\" | md5sum > /root/sum; echo > /root/done' USR1; "
                  "echo > /root/ready; while :; do wait; done",
                  kText));
}

void start_keeper(const Installation& installation) {
  installation.start("box", keeper());
  const std::string ready = upper_of(installation, "box") + "/root/ready";
  REQUIRE(eventually([&] { return std::filesystem::exists(ready); }, 20s * patience()));
}

std::string digest(const Installation& installation, const std::string& name) {
  inside(installation, name, "rm -f /root/sum /root/done; touch /root/ask");
  const std::string root = upper_of(installation, name) + "/root";
  CHECK(eventually([&] { return std::filesystem::exists(root + "/done"); }, 10s * patience()));
  return read_file_if_exists(root + "/sum").value_or("");
}

json save_memory(const Installation& installation, const std::string& name) {
  const Result result = installation.holm({"--json", "checkpoint", "--pre", name});
  REQUIRE_MESSAGE(result.status == 0, result.errors);
  return json::parse(result.errors);
}

// Bytes of memory in one directory of images, and on disk in all of them.
uint64_t pages_in(const std::string& images) {
  uint64_t size = 0;
  for (const auto& entry : std::filesystem::directory_iterator(images))
    if (entry.path().filename().string().starts_with("pages-")) size += entry.file_size();
  return size;
}
uint64_t bytes_on_disk(const std::string& images) {
  uint64_t size = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(images)) {
    struct stat status = {};
    if (::stat(entry.path().c_str(), &status) == 0) size += static_cast<uint64_t>(status.st_blocks) * 512;
  }
  return size;
}

}  // namespace

TEST_CASE("a kernel that does not track memory is told of, and nothing changes") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", counter());
  if (!kernel_tracks_memory()) {
    const Result result = installation.holm({"checkpoint", "--pre", "box"});
    CHECK(result.status == 1);
    CHECK_MESSAGE(result.errors.find("does not tell which memory was written") != std::string::npos,
                  result.errors);
  }
  CHECK(counts_beyond(installation, "box", counted(installation, "box")));
  CHECK(installation.holm({"checkpoint", "--pre", "box", "tag"}).status == 2);
  CHECK(installation.holm({"checkpoint", "--pre", "list", "box"}).status == 2);
  CHECK(installation.holm({"checkpoint", "--pre", "nobody"}).status == 1);
}

TEST_CASE("what was saved before is not saved again, and each page is on disk once") {
  HOLM_REQUIRES("root, CRIU, a kernel that tracks memory", kernel_tracks_memory());
  const Installation installation;
  start_keeper(installation);
  const std::string kept = digest(installation, "box");
  const json first = save_memory(installation, "box");
  CHECK(first["bytes"] > kText);
  const json second = save_memory(installation, "box");
  CHECK(second["bytes"] < kText / 4);
  CHECK(second["unchanged_bytes"] > kText);
  CHECK(second["level"] == 2);
  const auto images = [&](const std::string& tag) {
    return installation.state_directory() + "/containers/box/checkpoint/" + tag + "/images";
  };
  installation.holm_ok({"checkpoint", "box"});
  CHECK(pages_in(images("latest")) < kText / 4);
  CHECK(pages_in(images("latest") + "/parent/parent") > kText);
  CHECK(bytes_on_disk(images("latest")) < first["bytes"].get<uint64_t>() + kText / 4);
  CHECK(digest(installation, "box") == kept);
  // It was good for one checkpoint.
  installation.holm_ok({"checkpoint", "box", "whole"});
  CHECK(pages_in(images("whole")) > kText);
  installation.holm_ok({"stop", "--kill", "box"});
  installation.holm_ok({"restore", "box", "latest"});
  CHECK(digest(installation, "box") == kept);
  CHECK(counts_beyond(installation, "box", counted(installation, "box")));

  save_memory(installation, "box");
  installation.holm_ok({"stop", "--checkpoint", "box"});
  CHECK(pages_in(images("suspended")) < kText / 4);
  installation.holm_ok({"start", "box"});
  CHECK(digest(installation, "box") == kept);

  save_memory(installation, "box");
  const std::string file = installation.directory() + "/box.holm";
  installation.holm_ok({"save", "--leave-running", "box", file});
  installation.holm_ok({"restore", file, "--name", "copy"});
  CHECK(digest(installation, "copy") == kept);

  // Of another run it is of no use.
  save_memory(installation, "box");
  installation.holm_ok({"stop", "--kill", "box"});
  installation.holm_ok({"start", "box"});
  CHECK_FALSE(std::filesystem::exists(installation.state_directory() + "/containers/box/checkpoint/.pre"));
}

TEST_CASE("memory of a container that starts programs all the time is saved while it runs on") {
  HOLM_REQUIRES("root, CRIU, a kernel that tracks memory", kernel_tracks_memory());
  const Installation installation;
  installation.start("box", starter(30));
  CHECK(counts_beyond(installation, "box", 3));
  for (int i = 0; i < 4; ++i) {
    save_memory(installation, "box");
    CHECK(installation.column("box", "state") == "running");
    CHECK(counts_beyond(installation, "box", counted(installation, "box")));
  }
  installation.holm_ok({"stop", "--checkpoint", "box"});
  installation.holm_ok({"start", "box"});
  CHECK(counts_beyond(installation, "box", counted(installation, "box")));
}

TEST_CASE("a command that is killed while memory is saved leaves a container that runs on") {
  HOLM_REQUIRES("root, CRIU, a kernel that tracks memory", kernel_tracks_memory());
  const Installation installation;
  start_keeper(installation);
  const std::string mark = installation.run_directory() + "/box/dump";
  for (const auto moment : {10ms, 30ms, 60ms, 90ms, 120ms, 200ms}) {
    CAPTURE(moment.count());
    const pid_t command = installation.holm_background({"checkpoint", "--pre", "box"});
    std::this_thread::sleep_for(moment * patience());
    ::kill(command, SIGKILL);
    wait_status(command);
    // Without that another command is said.
    CHECK(counts_beyond(installation, "box", counted(installation, "box")));
    CHECK(eventually([&] { return !std::filesystem::exists(mark); }, 20s));
  }
  save_memory(installation, "box");
  installation.holm_ok({"checkpoint", "box"});
}
