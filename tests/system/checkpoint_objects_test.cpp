// The kinds of kernel objects, one by one: a container whose processes hold one of each goes through every
// way of saving, and says afterwards which of them are not what they were.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/criu.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

constexpr const char* kDirectory = "/root/objects";
constexpr const char* kNoNetwork = "[[network]]\nmode = \"none\"\n";

// What CRIU 4.2 has no images for: refused before anything is frozen.
const std::vector<std::string> kRefused = {"pipe_packets", "posix_queue_notification",
                                           "unix_pending_connection_with_data"};
// What it brings back otherwise: a job without its session's terminal, very many eventfds whose reads take
// one, a relative sleep that ends with EINTR.
const std::vector<std::string> kOtherwise = {"terminal_of_job", "eventfd_semaphores",
                                             "sleep_without_interruption"};

// A container whose first process is the probe (tests/support/checkpoint_probe/main.cpp).
class ProbedContainer {
 public:
  ProbedContainer(const Installation& installation, const std::string& name,
                  const std::vector<std::string>& options)
      : installation_(installation) {
    std::vector<std::string> command = {"/probe", kDirectory, "--patience", std::to_string(patience())};
    command.insert(command.end(), options.begin(), options.end());
    const std::string config = "command = " + json(command).dump() + "\n" + kNoNetwork;
    installation.holm_ok({"create", installation.write_config(name, config)});
    put_probe(upper_of(installation, name));
    installation.holm_ok({"start", name});
    const std::string ready = upper_of(installation, name) + kDirectory + "/ready";
    const bool is_ready = eventually([&] { return sys::exists(ready); }, 60s);
    REQUIRE_MESSAGE(is_ready, installation.holm({"log", name}).out);
  }

  // Has the probe in `name`, this container or a copy of it, look at all of its objects and bring them into
  // their next state. A CHECK fails for each that is not what it was. How many are.
  size_t verify(const std::string& name) {
    const std::string round = std::to_string(++round_);
    const std::string result = upper_of(installation_, name) + kDirectory + "/result." + round;
    inside(installation_, name, fmt::format("cd {1}; echo {0} > new; mv new round", round, kDirectory));
    const bool has_answered = eventually([&] { return sys::exists(result); }, 40s);
    CHECK_MESSAGE(has_answered, "the probe in '", name, "' does not answer");
    size_t kept = 0;
    for (const std::string& line : split(read_file_if_exists(result).value_or(""), '\n')) {
      if (line.starts_with("ok ")) ++kept;
      if (line.find("(skipped:") != std::string::npos) MESSAGE(line);
      CHECK_MESSAGE(!line.starts_with("FAIL"), line);
    }
    return kept;
  }

 private:
  static void put_probe(const std::string& upper) {
    const std::string target = upper + "/probe";
    std::filesystem::copy_file(built_program("checkpoint_probe"), target);
    const auto owner = sys::stat_path(upper);
    REQUIRE(::chown(target.c_str(), owner->st_uid, owner->st_gid) == 0);
  }

  const Installation& installation_;
  int round_ = 0;
};

// CRIU before 4.2 restores memory that is to be wiped at a fork as any other, and Linux before 6.5 does not
// tell which eventfd is a semaphore.
std::vector<std::string> lost_here() {
  std::vector<std::string> lost;
  const std::string version = run_host({"sh", "-c", "exec " + criu_program() + " --version"}).out;
  for (const char* older : {"Version: 3.", "Version: 4.0", "Version: 4.1"})
    if (version.contains(older)) lost.push_back("memory_advice");
  if (!have_kernel(6, 5)) lost.push_back("eventfd_semaphore");
  return lost;
}

// In groups of so many that a container with one of each is not frozen for long, also by an emulated host.
std::vector<std::vector<std::string>> groups_of_kinds() {
  const size_t most = static_cast<size_t>(std::max(1, 30 / patience()));
  std::vector<std::string> without = lost_here(), kinds;
  without.insert(without.end(), kRefused.begin(), kRefused.end());
  without.insert(without.end(), kOtherwise.begin(), kOtherwise.end());
  for (const std::string& kind :
       split(trim(run_host({built_program("checkpoint_probe"), "--list"}).out), '\n'))
    if (std::ranges::count(without, kind) == 0) kinds.push_back(kind);
  CHECK(kinds.size() > 100);
  kinds = part_of(kinds);
  const size_t count = (kinds.size() + most - 1) / most;
  std::vector<std::vector<std::string>> groups(count);
  for (size_t i = 0; i < kinds.size(); ++i) groups[i % count].push_back(kinds[i]);
  return groups;
}

void check_group(const std::vector<std::string>& kinds) {
  const Installation installation;
  const std::string file = installation.directory() + "/box.holm";
  const auto all = kinds.size();
  ProbedContainer objects(installation, "box", {"--only", join(kinds, ",")});
  CHECK(objects.verify("box") == all);  // also where nothing has happened
  CHECK(installation.holm({"check", "box"}).out == "ok       container 'box' can be saved\n");

  for (int generation = 1; generation <= 2; ++generation) {
    CAPTURE(generation);
    suspend_and_go_on(installation, "box");
    CHECK(objects.verify("box") == all);
  }
  installation.holm_ok({"save", "--leave-running", "box", file});
  ProbedContainer in_copy = objects;
  CHECK(objects.verify("box") == all);  // to be saved alone changes none of them
  installation.holm_ok({"restore", file, "--name", "copy"});
  CHECK(in_copy.verify("copy") == all);
}

}  // namespace

TEST_CASE("each kind of kernel object is what it was, whichever way its container is saved") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  for (const auto& kinds : groups_of_kinds()) check_group(kinds);
}

TEST_CASE("a kind of object that CRIU cannot save is named beforehand, and remains what it was") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  for (const std::string& kind : kRefused) {
    CAPTURE(kind);
    ProbedContainer object(installation, "box", {"--only", kind});
    const json report = json::parse(installation.holm({"--json", "check", "box"}).out);
    REQUIRE_FALSE(report["obstacles"].empty());
    const std::string why = report["obstacles"][0]["why"];
    const Result save = installation.holm({"save", "box", installation.directory() + "/box.holm"});
    CHECK(save.status == 1);
    CHECK_MESSAGE(save.errors.find(why) != std::string::npos, save.errors);
    CHECK_FALSE(sys::exists(installation.directory() + "/box.holm"));
    CHECK(object.verify("box") == 1U);
    installation.holm_ok({"destroy", "--force", "box"});
  }
}

TEST_CASE("what is lost of an object is told before it is saved, and with it") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  HOLM_REQUIRES("Linux 6.5, which shows semaphores", have_kernel(6, 5));
  const Installation installation;
  const ProbedContainer object(installation, "box", {"--only", "eventfd_semaphores"});
  const json report = json::parse(installation.holm({"--json", "check", "box"}).out);
  CHECK(report["obstacles"].empty());
  REQUIRE(report["warnings"].size() == 1);
  const std::string why = report["warnings"][0]["why"];
  CHECK(report["warnings"][0]["object"].get<std::string>().starts_with("257 eventfds (EFD_SEMAPHORE)"));
  for (const auto& words : {std::vector<std::string>{"checkpoint", "box"}, {"stop", "--checkpoint", "box"}}) {
    const Result saved = installation.holm(words);
    CHECK(saved.status == 0);
    CHECK_MESSAGE(saved.errors.contains(why), saved.errors);
  }
}

TEST_CASE("processes that come and go while it is looked at are not taken for others'") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", shell("for i in 1 2 3 4; do (while :; do sleep 0.001; done) & done; wait"));
  for (int round = 0; round < 15; ++round) {
    const std::string verdict = installation.holm({"check", "box"}).out;
    CHECK_MESSAGE(verdict.find("cgroup") == std::string::npos, verdict);
  }
  installation.holm_ok({"stop", "--checkpoint", "box"});
  installation.holm_ok({"start", "box"});
}
