// Containers that are saved and go on: with their processes, limits, clocks and states, any number of times.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/criu.h"
#include "tests/support/pty_program.h"
#include "tests/support/tcp.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kNat = "[[network]]\nmode = \"nat\"\n";

json kernel_limits(const Installation& installation, const std::string& name) {
  return json::parse(installation.holm_ok({"--json", "inspect", name}))["limits_in_kernel"];
}

std::vector<std::string> files_below(const std::string& directory) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
    files.push_back(entry.path().string());
  return files;
}

// Everything that a generation might leave behind, counted.
json census(const Installation& installation, const std::string& name) {
  const std::string monitor = "/proc/" + std::to_string(installation.monitor_of(name));
  const std::string init = "/proc/" + std::to_string(installation.pid_of(name));
  const auto lines = [](const std::string& path) { return split(read_file(path, 16 << 20), '\n').size(); };
  size_t groups = 0, processes = 0;
  for (const std::string& parent : installation.cgroup_parents())
    for (const auto& entry : std::filesystem::recursive_directory_iterator(parent))
      groups += entry.is_directory() ? 1 : 0;
  for (const std::string& entry : list_directory("/proc")) {
    ignore_errors([&] {  // it ended
      const bool is_holm =
          read_file("/proc/" + entry + "/environ").contains("HOLM_RUN_DIR=" + installation.run_directory());
      const bool is_criu =
          sys::read_link("/proc/" + entry + "/fd/1").starts_with(installation.run_directory());
      processes += is_holm || is_criu ? 1 : 0;
    });
  }
  return {{"monitor's descriptors", list_directory(monitor + "/fd").size()},
          {"init's descriptors", list_directory(init + "/fd").size()},
          {"mounts of the host", lines("/proc/self/mountinfo")},
          {"mounts of the monitor", lines(monitor + "/mountinfo")},
          {"mounts of init", lines(init + "/mountinfo")},
          {"cgroups", groups},
          {"processes", processes},
          {"links", list_directory("/sys/class/net").size()},
          {"files below run", files_below(installation.run_directory())},
          {"changed files", files_below(upper_of(installation, name)).size()},
          {"files of the container", list_directory(installation.state_directory() + "/containers/" + name)},
          {"files below state", list_directory(installation.state_directory())}};
}

// The rights of a process that the kernel shows.
std::string rights_of(pid_t pid) {
  std::string rights = read_file(fmt::format("/proc/{}/limits", pid));
  for (const std::string& line : split(read_file(fmt::format("/proc/{}/status", pid)), '\n'))
    for (const char* key : {"Cap", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups"})
      if (line.starts_with(key)) rights += line + "\n";
  return rights + read_file(fmt::format("/proc/{}/uid_map", pid)) +
         read_file(fmt::format("/proc/{}/oom_score_adj", pid));
}

}  // namespace

TEST_CASE("ten generations: it counts on with the same processes, and nothing grows") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const Installation installation;
  installation.start("box", shell("(i=0; while :; do i=$((i+1)); echo $i >> /root/count; sleep 0.02; done) & "
                                  "echo $! > /root/pid; wait") +
                                kNat);
  CHECK(counts_beyond(installation, "box", 3));
  std::string pid;
  CHECK(
      eventually([&] { return !(pid = answer(installation, "box", "cat /root/pid 2>/dev/null")).empty(); }));
  json second;
  for (int generation = 1; generation <= 10; ++generation) {
    CAPTURE(generation);
    suspend(installation, "box");
    const int before = counted(installation, "box");
    std::this_thread::sleep_for(50ms);
    CHECK(counted(installation, "box") == before);
    go_on(installation, "box");
    REQUIRE(counts_beyond(installation, "box", before));
    CHECK(answer(installation, "box", "cut -d' ' -f4 /proc/" + pid + "/stat; cat /proc/1/comm") == "1\nsh");
    if (generation == 2)  // when what the start had made for a moment is gone
      eventually([&] {
        const json before_this = std::exchange(second, census(installation, "box"));
        return second == before_this;
      });
  }
  json tenth;
  eventually([&] { return (tenth = census(installation, "box")) == second; }, 3s);
  for (const auto& [what, amount] : second.items())
    CHECK_MESSAGE(tenth[what] == amount, what, ": ", amount.dump(), " became ", tenth[what].dump());
}

TEST_CASE("limits and rights are those of a started container, and holm set works on") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  const std::string file = installation.directory() + "/box.holm";
  installation.start("box",
                     counter() +
                         "[cpu]\nweight = 300\ncap = 55\n[memory]\nlimit = \"200M\"\nbarrier = \"100M\"\n"
                         "[pids]\nlimit = 77\n[limits]\nnofile = 333\n");
  CHECK(counts_beyond(installation, "box", 1));
  const json limits = kernel_limits(installation, "box");
  CHECK(limits["cpu"]["cap_percent"] == 55);
  CHECK(limits["memory"]["limit"] == 200 << 20);
  const std::string rights = rights_of(installation.pid_of("box"));
  CHECK(rights.find("Max open files            333") != std::string::npos);
  const auto is_as_before = [&](const std::string& name) {
    CHECK(kernel_limits(installation, name) == limits);
    CHECK(rights_of(installation.pid_of(name)) == rights);
    CHECK(answer(installation, name, "ulimit -Hn") == "333");
  };
  suspend_and_go_on(installation, "box");
  is_as_before("box");
  installation.holm_ok({"save", "box", file});
  installation.holm_ok({"restore", file});
  is_as_before("box");
  CHECK(installation.holm_ok({"counters", "box"}).find("numproc") != std::string::npos);

  installation.holm_ok({"set", "box", "cpu.cap=44", "memory.limit=150M", "pids.limit=66", "cpu.weight=200",
                        "limits.nofile=222"});
  const json changed = kernel_limits(installation, "box");
  CHECK(changed["cpu"]["cap_percent"] == 44);
  CHECK(changed["memory"]["limit"] == 150 << 20);
  CHECK(changed["pids"]["limit"] == 66);
  CHECK(rights_of(installation.pid_of("box")).find("Max open files            222") != std::string::npos);
  // What was changed while it ran is what it goes on with.
  suspend_and_go_on(installation, "box");
  CHECK(kernel_limits(installation, "box") == changed);
  CHECK(rights_of(installation.pid_of("box")).find("Max open files            222") != std::string::npos);
  // Also while it is away.
  suspend(installation, "box");
  installation.holm_ok({"set", "box", "pids.limit=55"});
  go_on(installation, "box");
  CHECK(kernel_limits(installation, "box")["pids"]["limit"] == 55);
}

TEST_CASE("clocks inside stand still while it is away, and so does its uptime") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", shell("while :; do read up idle < /proc/uptime; echo $up >> /root/times; "
                                  "sleep 0.02; done"));
  const auto times = [&] {
    std::vector<double> all;
    const std::string text = read_file_if_exists(upper_of(installation, "box") + "/root/times").value_or("");
    for (const std::string& line : split(text.substr(0, text.rfind('\n') + 1), '\n'))
      if (!line.empty()) all.push_back(std::stod(line));
    return all;
  };
  const auto uptime = [&] { return std::stod(answer(installation, "box", "cut -d' ' -f1 /proc/uptime")); };
  const auto started_at = listed(installation, "box")["started_at"].get<int64_t>();
  const auto asked = Clock::now();
  const double before = uptime();
  REQUIRE(eventually([&] {
    const auto all = times();
    return !all.empty() && all.back() > before;
  }));
  suspend(installation, "box");
  const size_t seen = times().size();
  std::this_thread::sleep_for(3s);
  go_on(installation, "box");
  CHECK(eventually([&] { return times().size() > seen + 5; }));
  const auto all = times();
  const double jump = uptime() - before;
  const std::chrono::duration<double> all_of_it = Clock::now() - asked;
  CHECK_MESSAGE((jump > 0 && jump < all_of_it.count() - 2.5), "the clock inside went on by ", jump, " s of ",
                all_of_it.count());
  // Its own process has seen no more of it: while it is being saved and restored they go on.
  CHECK(std::ranges::is_sorted(all));
  const double gap = all.back() - all.at(seen - 1);
  CHECK_MESSAGE(gap < all_of_it.count() - 2.5, "the clock of its process went on by ", gap, " s of ",
                all_of_it.count());
  const auto shifted = listed(installation, "box")["started_at"].get<int64_t>() - started_at;
  CHECK((shifted >= 2 && shifted <= static_cast<int64_t>(all_of_it.count()) + 1));
}

TEST_CASE("what was paused stays paused, and --paused pauses what was not") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  const std::string file = installation.directory() + "/box.holm";
  installation.start("box", counter());
  CHECK(counts_beyond(installation, "box", 2));
  const auto is_still = [&] {
    CHECK(installation.column("box", "state") == "paused");
    const int number = counted(installation, "box");
    std::this_thread::sleep_for(150ms);
    CHECK(counted(installation, "box") == number);
  };
  const auto resumes = [&] {
    const int number = counted(installation, "box");
    installation.holm_ok({"resume", "box"});
    CHECK(counts_beyond(installation, "box", number));
    CHECK(installation.column("box", "state") == "running");
  };
  installation.holm_ok({"pause", "box"});
  installation.holm_ok({"checkpoint", "box", "still"});
  is_still();
  CHECK(installation.holm_ok({"checkpoint", "inspect", "box", "still"}).find("(paused)") !=
        std::string::npos);
  resumes();
  installation.holm_ok({"pause", "box"});
  installation.holm_ok({"stop", "--checkpoint", "box"});
  CHECK(installation.column("box", "state") == "suspended");
  installation.holm_ok({"start", "box"});
  is_still();
  resumes();

  installation.holm_ok({"save", "box", file});
  installation.holm_ok({"restore", "--paused", file});
  is_still();
  resumes();
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", "box", "still"});
  is_still();
  // Stopped and destroyed like any other that is paused.
  installation.holm_ok({"stop", "-t", "100ms", "box"});
  CHECK(installation.column("box", "state") == "stopped");
}

TEST_CASE("a running container is cloned with what it has in memory, and runs on") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const Installation installation;
  installation.start("box", echo_server());
  const auto own = addresses_of(installation, "box");
  Connection connection(own[0], 7000);
  CHECK(connection.echoes("before\n"));
  const pid_t init = installation.pid_of("box");
  installation.holm_ok({"clone", "--live", "box", "copy"});
  CHECK(installation.pid_of("box") == init);
  CHECK(connection.echoes("after\n"));
  const auto others = addresses_of(installation, "copy");
  CHECK(others[0] != own[0]);
  CHECK(counts_beyond(installation, "copy", counted(installation, "copy")));
  CHECK(counts_beyond(installation, "box", counted(installation, "box")));
  for (const std::string& address : others) CHECK(Connection(address, 7000).echoes("to the copy\n"));
  CHECK(connection.echoes("again\n"));
  // Its files are its own.
  inside(installation, "copy", "echo copy > /root/whose");
  CHECK(inside(installation, "box", "test -e /root/whose").status == 1);
  const Result again = installation.holm({"clone", "--live", "box", "copy"});
  CHECK(again.status == 1);
  CHECK_MESSAGE(again.errors.find("'copy'") != std::string::npos, again.errors);
  CHECK(connection.echoes("after a clone that failed\n"));
  for (const std::string name : {"box", "copy"})
    CHECK(list_directory(installation.state_directory() + "/containers/" + name + "/checkpoint").empty());
  // The clone of a clone, and the end of the first.
  installation.holm_ok({"destroy", "--force", "box"});
  installation.holm_ok({"clone", "--live", "copy", "third"});
  CHECK(counts_beyond(installation, "third", counted(installation, "third")));
  for (const std::string name : {"copy", "third"})
    CHECK(Connection(addresses_of(installation, name)[0], 7000).echoes("still\n"));
}

TEST_CASE("what is executed from outside is no part of a checkpoint, and runs on where the container does") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", counter());
  const pid_t exec = installation.holm_background(
      {"exec", "box", "sh", "-c",
       "i=0; touch /tmp/up; while [ $i -lt 40 ]; do i=$((i+1)); sleep 0.05; done; exit 17"});
  CHECK(eventually([&] { return inside(installation, "box", "test -e /tmp/up").status == 0; }));
  installation.holm_ok({"checkpoint", "box"});
  CHECK(wait_status(exec) == 17);
  const json manifest = json::parse(installation.holm_ok({"--json", "checkpoint", "inspect", "box"}));
  for (const json& process : manifest["processes"])
    CHECK_MESSAGE(process["command"].get<std::string>().find("exit 17") == std::string::npos, process.dump());
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", "box"});
  CHECK(answer(installation, "box", "ps | grep -c 'exit 1[7]' || true") == "0");

  // What such a command left behind became init's, and goes on with it.
  inside(installation, "box", "setsid sleep 1234 < /dev/null > /dev/null 2>&1 &");
  const pid_t ended = installation.holm_background({"exec", "box", "sleep", "1000"});
  // As a whole command: not the words of who is about to execute it.
  const auto runs = [&](const std::string& command) {
    return answer(installation, "box", "ps -o args | grep -c '^\\({[^}]*} \\)*" + command + "$'") == "1";
  };
  CHECK(eventually([&] { return runs("sleep 1234") && runs("sleep 1000"); }));
  suspend(installation, "box");
  CHECK(wait_status(ended) != 0);
  go_on(installation, "box");
  CHECK(answer(installation, "box", "ps | grep -c 'sleep 123[4]'") == "1");
}

TEST_CASE("a restored container that crashes is started anew by its policy, and its end is known") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  const std::string file = installation.directory() + "/box.holm";
  installation.start("box",
                     "on_crash = \"restart\"\n" +
                         shell("trap 'exit 7' USR1; echo start >> /root/starts; while :; do sleep 0.02; "
                               "done"));
  const auto starts = [&] {
    return split(trim(read_file_if_exists(upper_of(installation, "box") + "/root/starts").value_or("")), '\n')
        .size();
  };
  CHECK(eventually([&] { return starts() == 1; }));
  installation.holm_ok({"save", "box", file});
  CHECK(installation.column("box", "state") == "stopped");  // an end that was asked for is no crash
  installation.holm_ok({"restore", file});
  const pid_t restored = installation.pid_of("box");
  CHECK(starts() == 1);
  installation.holm_ok({"kill", "-s", "USR1", "box"});
  CHECK(eventually([&] {
    return installation.column("box", "restarts") == "1" && installation.column("box", "state") == "running";
  }));
  CHECK(installation.pid_of("box") != restored);
  CHECK(eventually([&] { return starts() == 2; }));
  CHECK(installation.holm_ok({"log", "--monitor", "box"}).find("exited with status 7\n") !=
        std::string::npos);
  // The one that was launched can be saved like any other, and its crash is none of the restored one's.
  suspend_and_go_on(installation, "box");
  CHECK(starts() == 2);
  installation.holm_ok({"kill", "box"});
  CHECK(eventually([&] { return starts() == 3 && installation.column("box", "state") == "running"; }));
  // A reboot starts it anew, too.
  suspend_and_go_on(installation, "box");
  installation.holm_ok({"reboot", "-t", "100ms", "box"});
  CHECK(eventually([&] { return starts() == 4; }));
  // So does one from inside; and without a policy it is stopped, with the status.
  installation.start("plain", shell("trap 'exit 42' USR1; touch /root/ready; while :; do sleep 0.02; done"));
  CHECK(eventually([&] { return sys::exists(upper_of(installation, "plain") + "/root/ready"); }));
  suspend_and_go_on(installation, "plain");
  installation.holm_ok({"kill", "-s", "USR1", "plain"});
  CHECK(installation.holm({"wait", "plain"}).status == 42);
  CHECK(installation.column("plain", "reason") == "exited with status 42");
}

TEST_CASE("a message that cannot be saved is waited for, and named where nobody takes it") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", "command = [\"/probe\", \"post\"]\n" + with_probe());
  const std::string log = installation.run_directory() + "/box/criu.log";
  CHECK(eventually([&] { return sys::exists(upper_of(installation, "box") + "/root/posted"); }));

  const Result refused = installation.holm({"checkpoint", "box"});
  CHECK(refused.status == 1);
  CHECK_MESSAGE(refused.errors.contains("queue holds control messages"), refused.errors);
  CHECK(installation.column("box", "state") == "running");

  sys::remove_file(log);
  const pid_t init = installation.pid_of("box");
  REQUIRE(init > 1);
  std::thread taker([&] {
    eventually([&] {
      return read_file_if_exists(log, 16 << 20).value_or("").contains("Control messages in queue");
    });
    ::kill(init, SIGUSR1);
  });
  const Result saved = installation.holm({"stop", "--checkpoint", "box"});
  taker.join();
  CHECK_MESSAGE(saved.status == 0, saved.errors);
  go_on(installation, "box");
}

TEST_CASE("a container with as many processes as it may have comes back, and may have no more of them") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", shell("sleep 1000 & sleep 1000 & wait") + "[pids]\nlimit = 3\n[cpu]\ncap = 5\n");
  CHECK(eventually([&] { return listed(installation, "box").value("pids", 0) == 3; }));
  const json limits = kernel_limits(installation, "box");
  suspend_and_go_on(installation, "box");
  CHECK(kernel_limits(installation, "box") == limits);
  CHECK(installation.holm({"exec", "box", "/bin/true"}).status != 0);
}

TEST_CASE("the host's control groups keep their mount options, whoever is killed meanwhile") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const auto options = [] {
    std::string found;
    for (const std::string& line : split(read_file("/proc/self/mountinfo", 16 << 20), '\n'))
      if (const size_t at = line.find(" - cgroup2 "); at != std::string::npos && found.empty())
        found = split_words(line.substr(at)).at(3);
    return found;
  };
  const std::string point =
      run_host({"sh", "-c", "awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo"}).out;
  const std::string directory(trim(point));
  if (directory.empty()) return;
  const std::string before = options();
  // As systemd has it on every host of its own. A host that has none gets them for a moment.
  if (run_host({"mount", "-o", "remount,nsdelegate,memory_recursiveprot", directory}).status != 0) return;
  const std::string all = options();
  CHECK(all.contains("nsdelegate"));
  {
    const Installation installation;
    const std::string file = installation.directory() + "/box.holm";
    installation.start("box", shell("while :; do sleep 0.1; done"));
    installation.holm_ok({"checkpoint", "box"});
    CHECK(options() == all);
    suspend_and_go_on(installation, "box");
    CHECK(options() == all);
    installation.holm({"checkpoint", "box"}, {{"HOLM_FAULT", "kill:save the cgroups"}});
    CHECK(eventually([&] { return options() == all; }));
    CHECK(eventually([&] { return !sys::exists(installation.run_directory() + "/box/dump"); }));
    installation.holm_ok({"stop", "--checkpoint", "box"});
    installation.holm({"start", "box"}, {{"HOLM_FAULT", "kill:set up its network namespace"}});
    installation.holm({"gc"});
    CHECK(eventually([&] { return options() == all; }));
  }
  // With a source: without one, mount(8) adds those that there are.
  run_host({"mount", "-t", "cgroup2", "-o", "remount" + before.substr(2), "cgroup2", directory});
  CHECK(options() == before);
  run_host({"rm", "-f", "/run/holm-cgroup2.options"});
}
