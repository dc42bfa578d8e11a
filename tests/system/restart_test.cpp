// How runs end, how that is shown, and what the monitor makes of it: on_crash, on_reboot, back-off.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/holm_runner.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kSleeper = "command = [\"/bin/sleep\", \"1000\"]\n";

std::string shell(const std::string& script) {
  return "command = [\"/bin/sh\", \"-c\", '''" + script + "''']\n";
}

bool reaches(const Installation& installation, const std::string& name, const std::string& state,
             std::chrono::milliseconds limit = 10s) {
  return eventually([&] { return installation.column(name, "state") == state; }, limit);
}

bool is_up(const Installation& installation, const std::string& name) {
  return eventually([&] { return installation.holm({"exec", name, "test", "-e", "/tmp/up"}).status == 0; });
}

// Of the only container, in one look: a pause may be over before the next one.
std::string row(const Installation& installation, const std::string& columns) {
  return join(split_words(installation.holm_ok({"list", "-a", "-H", "-o", columns})), " ");
}

// What its monitors have logged, without the times.
std::vector<std::string> history(const Installation& installation) {
  std::vector<std::string> lines;
  for (const std::string& line : split(installation.holm_ok({"log", "--monitor", "box"}), '\n'))
    if (!line.empty()) lines.push_back(line.substr(line.find(' ') + 1));
  return lines;
}

}  // namespace

TEST_CASE("exit code, signal and power-off are known and shown") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const auto reason = [&](const std::string& text) {
    installation.start("box", text);
    CHECK(reaches(installation, "box", "stopped"));
    return installation.column("box", "reason");
  };
  CHECK(reason(shell("exit 0")) == "exited with status 0");
  CHECK(reason(shell("exit 42")) == "exited with status 42");
  CHECK(installation.holm({"wait", "box"}).status == 42);
  CHECK(reason(shell("poweroff -f; sleep 5")) == "powered off");
  CHECK(installation.holm({"wait", "box"}).status == 0);
  CHECK(reason(shell("halt -f; sleep 5")) == "powered off");
  installation.start("box", kSleeper);
  installation.holm_ok({"kill", "-s", "SEGV", "box"});
  installation.holm_ok({"kill", "box"});
  CHECK(reaches(installation, "box", "stopped"));
  CHECK(installation.column("box", "reason").starts_with("killed by signal "));
  const auto list = nlohmann::json::parse(installation.holm_ok({"--json", "list", "-a"}));
  CHECK(list[0].at("last_exit").at("signal").get<int>() != 0);
  CHECK(list[0].at("last_exit").at("requested") == false);
  CHECK(list[0].at("last_exit").at("out_of_memory") == false);
}

TEST_CASE("an init that ran out of memory is told so, with the limit and the cure") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string limits = "[memory]\nlimit = \"64M\"\nswap = \"0\"\n";
  // tail keeps its last line, which never ends.
  installation.start("box", "command = [\"/usr/bin/tail\", \"/dev/zero\"]\n" + limits);
  CHECK(reaches(installation, "box", "stopped", 30s));
  CHECK(installation.column("box", "reason") == "killed: out of memory at 64 MiB; raise memory.limit");
  CHECK(installation.holm({"wait", "box"}).status == 137);
  const auto list = nlohmann::json::parse(installation.holm_ok({"--json", "list", "-a"}));
  CHECK(list[0].at("last_exit").at("out_of_memory") == true);

  const Result run = installation.holm(
      {"run", "--rm", installation.write_config("job", shell("tail /dev/zero; exit $?") + limits)});
  CHECK(run.status == 137);
  installation.start("child", shell("tail /dev/zero; exit $?") + limits);
  CHECK(reaches(installation, "child", "stopped", 30s));
  CHECK(installation.column("child", "reason") ==
        "exited with status 137; the kernel killed 'tail' of it: out of memory at 64 MiB; raise "
        "memory.limit");
}

TEST_CASE("on_crash = restart starts again, waits longer each time, and says so") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const size_t crashes = patience() > 1 ? 6 : 4;  // all that is looked at in the last pause takes longer
  std::vector<std::string> expected;
  std::chrono::milliseconds last_pause = 0ms;
  for (size_t crash = 1; crash <= crashes; ++crash) {
    last_pause = 500ms * (1 << (crash - 1));
    expected.push_back(fmt::format("exited with status {}", crash + 2));
    expected.push_back(
        fmt::format("restart {} after {:.1f} s", crash, std::chrono::duration<double>(last_pause).count()));
  }
  const auto start = Clock::now();
  installation.start("box", "on_crash = \"restart\"\n" +
                                shell("echo run >> /root/runs; n=$(wc -l < /root/runs); exit $((n + 2))"));
  const std::string last =
      fmt::format("restarting {} {}; {}", crashes - 1, expected[2 * crashes - 2], expected[2 * crashes - 1]);
  CHECK(eventually([&] { return row(installation, "state,restarts,reason") == last; }));
  CHECK(Clock::now() - start >= last_pause - 500ms);  // the pauses before, together
  CHECK(history(installation) == expected);

  // While it waits, it is neither running nor to be started, and a stop does not wait for the pause.
  CHECK(installation.holm({"exec", "box", "true"}).status == 125);
  CHECK(installation.holm({"start", "box"}).errors ==
        "holm: cannot start container 'box': it is restarting already\n");
  const auto stop = Clock::now();
  installation.holm_ok({"stop", "box"});
  CHECK(Clock::now() - stop < 500ms * patience());
  CHECK(installation.column("box", "state") == "stopped");
  std::this_thread::sleep_for(last_pause + 200ms);
  CHECK(installation.column("box", "state") == "stopped");
  std::string runs;
  for (size_t run = 0; run < crashes; ++run) runs += "run\n";
  CHECK(read_file(installation.state_directory() + "/containers/box/upper/root/runs") == runs);
  // A start by a person counts anew.
  installation.holm_ok({"start", "box"});
  expected.push_back(fmt::format("exited with status {}", crashes + 3));
  expected.emplace_back("restart 1 after 0.5 s");
  std::vector<std::string> lines;
  CHECK(eventually([&] { return (lines = history(installation)).size() >= expected.size(); }));
  lines.resize(std::min(lines.size(), expected.size()));  // it crashes on
  CHECK(lines == expected);
  // Destroying one that waits needs no stop before.
  CHECK(installation.holm({"destroy", "box"}).status == 1);
  installation.holm_ok({"destroy", "--force", "box"});
  CHECK(installation.column("box", "state").empty());
}

TEST_CASE("a container that ends without failure is not started again") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", "on_crash = \"restart\"\n" + shell("sleep 0.1; exit 0"));
  CHECK(reaches(installation, "box", "stopped"));
  CHECK(installation.column("box", "reason") == "exited with status 0");
}

TEST_CASE("a restart that fails is told, and tried again") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", "on_crash = \"restart\"\n" + shell("rm /bin/sh; exit 3"));
  const std::string expected = "restarting cannot restart: execute '/bin/sh': No such file";
  CHECK(eventually([&] { return row(installation, "state,reason").starts_with(expected); }));
  installation.holm_ok({"stop", "box"});
  CHECK(installation.column("box", "state") == "stopped");
}

TEST_CASE("on_crash = destroy removes the container, on_crash = stop keeps it") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("gone", "on_crash = \"destroy\"\n" + shell("sleep 0.1; exit 1"));
  installation.start("kept", "on_crash = \"stop\"\n" + shell("sleep 0.1; exit 1"));
  CHECK(eventually([&] { return installation.column("gone", "state").empty(); }));
  CHECK(reaches(installation, "kept", "stopped"));
  CHECK(installation.column("kept", "reason") == "exited with status 1");
  installation.start("gone", "on_crash = \"destroy\"\n" + shell("exit 0"));
  CHECK(reaches(installation, "gone", "stopped"));
  installation.start("gone", "on_crash = \"destroy\"\n" + std::string(kSleeper));
  installation.holm_ok({"stop", "-k", "gone"});
  CHECK(installation.column("gone", "state") == "stopped");
}

TEST_CASE("a whole system reboots and powers off from inside") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", "init = \"/sbin/init\"\n");
  const pid_t before = installation.pid_of("box");
  CHECK(before > 0);
  CHECK(installation.holm({"exec", "box", "cat", "/proc/1/comm"}).out == "init\n");
  installation.holm({"exec", "box", "reboot"});
  CHECK(eventually(
      [&] {
        return installation.column("box", "restarts") == "1" &&
               installation.column("box", "state") == "running";
      },
      15s));
  CHECK(installation.pid_of("box") != before);
  installation.holm({"exec", "box", "poweroff"});
  CHECK(reaches(installation, "box", "stopped", 15s));
  CHECK(installation.column("box", "reason") == "powered off");
  // A polite stop of busybox's init is a power-off.
  installation.holm_ok({"start", "box"});
  const auto start = Clock::now();
  installation.holm_ok({"stop", "--timeout", std::to_string(10 * patience()), "box"});
  CHECK(Clock::now() - start < 8s * patience());
  CHECK(installation.column("box", "reason") == "powered off");
}

TEST_CASE("on_reboot decides what a reboot from inside means") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string script =
      shell("sleep 0.1; [ -e /root/second ] && exec sleep 1000; touch /root/second; reboot -f; sleep 5");
  installation.start("again", script);
  installation.start("stays", "on_reboot = \"stop\"\n" + script);
  installation.start("gone", "on_reboot = \"destroy\"\n" + script);
  CHECK(eventually([&] { return installation.column("gone", "state").empty(); }));
  CHECK(reaches(installation, "stays", "stopped"));
  CHECK(installation.column("stays", "reason") == "rebooted");
  CHECK(eventually([&] {
    return installation.column("again", "restarts") == "1" &&
           installation.column("again", "state") == "running";
  }));
}

TEST_CASE("payloads that will not go are gone within the grace time and 2 s") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  struct Case {
    const char* name;
    std::string text;
  };
  const Case cases[] = {
      {"deaf", shell("trap '' TERM INT HUP USR1 USR2 PWR; touch /tmp/up; while :; do sleep 1; done")},
      {"crowd", shell("trap '' TERM; for i in $(seq 200); do (trap \"\" TERM; sleep 1000) & done; touch "
                      "/tmp/up; wait; sleep 1000")},
      {"bomb",
       shell("touch /tmp/up; bomb() { bomb | bomb & }; bomb; exec sleep 1000") + "[pids]\nlimit = 100\n"},
      {"zombies", shell("touch /tmp/up; (for i in $(seq 50); do (exit 0) & done; exec sleep 1000) & trap '' "
                        "TERM; while :; do sleep 1; done")},
      {"stopped", shell("sh -c 'touch /tmp/up; kill -STOP $$' & trap '' TERM; while :; do sleep 1; done")},
  };
  for (const Case& c : cases) {
    for (const auto& words : {std::vector<std::string>{"stop", "-t", "500ms"}, {"destroy", "--force"}}) {
      CAPTURE(c.name);
      CAPTURE(words[0]);
      installation.start(c.name, c.text);
      // A fork bomb leaves no room for an exec, so it is looked for in the files.
      CHECK(eventually([&] { return installation.column(c.name, "pids") != ""; }));
      std::this_thread::sleep_for(150ms);
      const pid_t init = installation.pid_of(c.name);
      const auto start = Clock::now();
      std::vector<std::string> command = words;
      command.emplace_back(c.name);
      installation.holm_ok(command);
      const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
      CHECK_MESSAGE(took < 500ms + 2s * patience(), took.count(), " ms");
      CHECK_FALSE(sys::exists("/proc/" + std::to_string(init)));
      if (words[0] == "stop") installation.holm_ok({"destroy", c.name});
    }
  }
}

TEST_CASE("a stopped or paused init is ended like any other") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  for (const char* verb : {"stop", "destroy", "kill"}) {
    for (const char* how : {"SIGSTOP", "pause"}) {
      CAPTURE(verb);
      CAPTURE(how);
      installation.start("box", shell("touch /tmp/up; while :; do sleep 1; done"));
      CHECK(is_up(installation, "box"));
      const pid_t init = installation.pid_of("box");
      if (how == std::string("pause")) {
        installation.holm_ok({"pause", "box"});
      } else {
        REQUIRE(init > 1);
        ::kill(init, SIGSTOP);
      }
      const auto start = Clock::now();
      if (verb == std::string("stop")) installation.holm_ok({"stop", "-t", "300ms", "box"});
      if (verb == std::string("kill")) {
        installation.holm_ok({"kill", "box"});
        CHECK(reaches(installation, "box", "stopped", 2s));
      }
      installation.holm_ok({"destroy", "--force", "box"});
      CHECK(Clock::now() - start < 300ms + 2s * patience());
      CHECK_FALSE(sys::exists("/proc/" + std::to_string(init)));
      CHECK(installation.column("box", "state").empty());
    }
  }
}

TEST_CASE("an adopted container is restarted by its new monitor, whose own children it knows") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", "on_crash = \"restart\"\n" +
                                shell("[ -e /root/second ] && exit 33; touch /root/second; exec sleep 1000"));
  CHECK(eventually(
      [&] { return sys::exists(installation.state_directory() + "/containers/box/upper/root/second"); }));
  const pid_t monitor = installation.monitor_of("box");
  REQUIRE(monitor > 1);
  ::kill(monitor, SIGKILL);
  CHECK(reaches(installation, "box", "orphaned"));
  installation.holm({"gc"});
  CHECK(installation.column("box", "state") == "running");
  installation.holm_ok({"kill", "box"});
  CHECK(eventually([&] {
    return join(history(installation), "; ").find("exited with status 33; restart 2 after 1.0 s") !=
           std::string::npos;
  }));
  installation.holm_ok({"stop", "box"});
}
