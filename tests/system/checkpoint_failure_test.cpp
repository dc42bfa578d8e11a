// What is left where saving or restoring fails, or is killed, at any step: a
// container that runs on with its connections, or one that is stopped with its
// checkpoint untouched.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <csignal>

#include "base/file.h"
#include "base/sys.h"
#include "tests/support/kept_container.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

bool has(const std::vector<std::string>& steps, const std::string& step) {
  return std::ranges::find(steps, step) != steps.end();
}

}  // namespace

TEST_CASE(
    "a save that is killed or fails at any step leaves a container that "
    "runs on, connections too") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const KeptContainer scene;
  const std::string file = scene.installation.directory() + "/box.holm";
  const std::vector<std::string> words = {"save", "--leave-running", "box", file};
  const auto steps = scene.trace_of(words);
  sys::remove_file(file);
  scene.runs_on();
  for (const char* step : {"silence the links", "save the processes", "archive the files", "digest the parts",
                           "write the manifest", "deliver the checkpoint"})
    CHECK_MESSAGE(has(steps, step), step);
  for (const std::string& step : part_of(steps)) {
    for (const std::string action : {"kill:", "error:"}) {
      CAPTURE(step);
      CAPTURE(action);
      const Result result = scene.fails(words, action + step);
      CHECK(result.status == (action == "kill:" ? 137 : 1));
      if (action == "error:") CHECK_MESSAGE(result.errors.contains("step '" + step + "'"), result.errors);
      CHECK_FALSE(sys::exists(file));
      if (action == "kill:") scene.recover();
      scene.runs_on();
    }
  }
  scene.installation.holm_ok(words);
  scene.installation.holm_ok({"restore", file, "--name", "whole"});
  CHECK(counts_beyond(scene.installation, "whole", counted(scene.installation, "whole")));
}

TEST_CASE(
    "a stop --checkpoint that is killed or fails leaves it running or "
    "suspended, never lost") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const KeptContainer scene;
  const std::vector<std::string> words = {"stop", "--checkpoint", "box"};
  const auto steps = scene.trace_of(words);
  CHECK(scene.state() == "suspended");
  scene.installation.holm_ok({"start", "box"});
  CHECK(has(steps, "announce the end"));
  CHECK(has(steps, "keep the checkpoint"));
  CHECK(has(steps, "await the monitor"));
  for (const std::string& step : part_of(steps)) {
    for (const std::string action : {"kill:", "error:"}) {
      CAPTURE(step);
      CAPTURE(action);
      const int before = scene.count();
      const Result result = scene.fails(words, action + step);
      // The monitor's own steps when a container ends are no failure of the
      // command.
      if (result.status != 0) CHECK(result.status == (action == "kill:" ? 137 : 1));
      scene.recover();
      CHECK(eventually([&] { return scene.state() == "running" || scene.state() == "suspended"; }, 5s));
      if (scene.state() != "running") scene.installation.holm_ok({"start", "box"});
      scene.runs_on();
      CHECK(scene.count() > before);
    }
  }
}

TEST_CASE(
    "a start from a checkpoint that is killed or fails leaves it as it "
    "was, or running, never lost") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  KeptContainer scene;
  const std::vector<std::string> words = {"start", "box"};
  scene.installation.holm_ok({"stop", "--checkpoint", "box"});
  const auto steps = scene.trace_of(words);
  scene.runs_on();
  for (const char* step : {"verify the parts", "prepare the images", "restore the processes", "record init",
                           "connect the links", "check what was restored", "let it run"})
    CHECK_MESSAGE(has(steps, step), step);
  scene.installation.holm_ok({"stop", "--checkpoint", "box"});
  std::string digest = scene.digest_of("suspended");
  int count = scene.count();
  for (const std::string& step : part_of(steps)) {
    for (const std::string action : {"kill:", "error:"}) {
      CAPTURE(step);
      CAPTURE(action);
      const auto begin = Clock::now();
      const Result result = scene.fails(words, action + step);
      CHECK(Clock::now() - begin < 8s * patience());
      scene.recover();
      REQUIRE(eventually([&] { return scene.state() == "running" || scene.state() == "suspended"; }, 5s));
      if (scene.state() == "suspended") {
        CHECK(result.status != 0);
        if (action == "error:") CHECK_MESSAGE(result.errors.contains("injected fault"), result.errors);
        CHECK(scene.digest_of("suspended") == digest);
        CHECK(scene.count() == count);
        continue;
      }
      // It had begun to run, or the step is one of the end.
      CHECK(counts_beyond(scene.installation, "box", count));
      scene.runs_on();
      if (result.status != 0)
        scene.start_anew();  // a monitor that was killed has taken the console
                             // with it
      scene.installation.holm_ok({"stop", "--checkpoint", "box"});
      digest = scene.digest_of("suspended");
      count = scene.count();
    }
  }
  scene.installation.holm_ok(words);
  scene.runs_on();
  CHECK(scene.count() > count);
}

TEST_CASE(
    "a restore that is killed or fails leaves the files that were there, "
    "and the checkpoint") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const KeptContainer scene;
  const Installation& installation = scene.installation;
  const std::vector<std::string> words = {"restore", "box", "old"};
  installation.holm_ok({"checkpoint", "box", "old"});
  const std::string digest = scene.digest_of("old");
  const auto change = [&] {
    inside(installation, "box",
           "echo changed > /root/changed; chmod 640 /root/changed; rm "
           "/etc/profile");
    installation.holm_ok({"stop", "-k", "box"});
  };
  const auto files = [&] {
    return run_host({"sh", "-c",
                     "cd " + upper_of(installation, "box") +
                         " && find . -printf '%p %y %m %U %s\\n' | sort; "
                         "md5sum root/count"})
        .out;
  };
  change();
  const auto steps = scene.trace_of(words);
  CHECK(has(steps, "put the old files aside"));
  CHECK(has(steps, "put the saved files in place"));
  CHECK(inside(installation, "box", "test -e /root/changed").status == 1);
  change();
  std::string before = files();
  for (const std::string& step : part_of(steps)) {
    for (const std::string action : {"kill:", "error:"}) {
      CAPTURE(step);
      CAPTURE(action);
      const Result result = scene.fails(words, action + step);
      scene.recover();
      CHECK(eventually([&] { return scene.state() == "running" || scene.state() == "stopped"; }, 5s));
      CHECK(scene.digest_of("old") == digest);
      if (scene.state() == "running") {
        CHECK(inside(installation, "box", "test -e /root/changed").status == 1);
        change();
        before = files();
        continue;
      }
      CHECK(result.status != 0);
      if (result.status == 0) {  // it ended at once
        before = files();
        continue;
      }
      CHECK(files() == before);
      CHECK(list_directory(installation.state_directory() + "/containers/box") ==
            std::vector<std::string>{"checkpoint", "config.toml", "identity.json", "upper", "work"});
    }
  }
  // The files that were put back are what a start finds, and the checkpoint can
  // still be restored.
  installation.holm_ok({"start", "box"});
  CHECK(inside(installation, "box", "cat /root/changed").out == "changed\n");
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok(words);
  CHECK(inside(installation, "box", "test -e /root/changed").status == 1);
  installation.holm_ok({"destroy", "--force", "box"});
  installation.holm_ok({"gc"});
  CHECK(eventually([&] { return installation.leftovers().empty(); }, 3s));
}

TEST_CASE("a restore of a file that is killed or fails leaves no container of it") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const KeptContainer scene;
  const Installation& installation = scene.installation;
  const std::string file = installation.directory() + "/box.holm";
  installation.holm_ok({"save", "--leave-running", "box", file});
  const std::vector<std::string> words = {"restore", file, "--name", "copy"};
  const auto steps = scene.trace_of(words);
  CHECK(counts_beyond(installation, "copy", counted(installation, "copy")));
  installation.holm_ok({"destroy", "--force", "copy"});
  scene.runs_on();
  size_t number = 0;
  for (const std::string& step : part_of(steps)) {
    const std::string action = ++number % 2 ? "kill:" : "error:";
    CAPTURE(step);
    CAPTURE(action);
    const Result result = scene.fails(words, action + step);
    scene.recover();
    if (action == "error:" && result.status != 0) {
      CHECK_MESSAGE(result.errors.contains("injected fault"), result.errors);
      CHECK(installation.column("copy", "state").empty());
    }
    if (!installation.column("copy", "state").empty()) installation.holm_ok({"destroy", "--force", "copy"});
    scene.runs_on();
  }
}
