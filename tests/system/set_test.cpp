// holm set: limits that change while a container runs, in the kernel and in its config, all or none of them.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/unit.h"
#include "quotas/limits.h"
#include "tests/support/inside.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;

namespace {

constexpr const char* kIdle = "command = [\"/bin/sleep\", \"1000\"]\n";
// Holds 40 MiB that cannot be reclaimed, as there is no swap for them.
constexpr const char* kHolder =
    "command = [\"/bin/sh\", \"-c\", \"head -c 41943040 /dev/zero > /dev/shm/held; echo holding; sleep "
    "1000\"]\n";

json kernel_limits(const Installation& installation, const std::string& name) {
  return json::parse(installation.holm_ok({"--json", "inspect", name}))["limits_in_kernel"];
}

std::string stored_config(const Installation& installation, const std::string& name) {
  return read_file(installation.state_directory() + "/containers/" + name + "/config.toml");
}

void await_holding(const Installation& installation, const std::string& name) {
  CHECK(eventually([&] { return installation.holm_ok({"log", name}).find("holding") != std::string::npos; }));
}

std::string last_cpu() { return std::to_string(::sysconf(_SC_NPROCESSORS_ONLN) - 1); }

}  // namespace

TEST_CASE("set changes limits at once, and in the config, whose comments stay") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box",
                     std::string(kIdle) + "[cpu]  # fair\nweight = 256 # as in Xen\n[pids]\nlimit = 90\n");
  const pid_t init = installation.pid_of("box");
  CHECK(installation.holm_ok({"set", "box", "cpu.weight=512", "cpu.cap=75", "memory.limit=96M",
                              "memory.barrier=64M", "pids.limit=77", "cpu.pin=" + last_cpu()}) == "");
  const json held = kernel_limits(installation, "box");
  CHECK(held["cpu"]["weight"] == 512);
  CHECK(held["cpu"]["cap_percent"] == 75);
  CHECK(held["memory"]["limit"] == 96 << 20);
  CHECK(held["memory"]["barrier"] == 64 << 20);
  CHECK(held["pids"]["limit"] == 77);
  CHECK(answer(installation, "box", "grep Cpus_allowed_list /proc/1/status | cut -f2") == last_cpu());
  const std::string config = stored_config(installation, "box");
  CHECK(config.find("[cpu]  # fair\nweight = 512 # as in Xen\ncap = 75\npin = \"" + last_cpu() + "\"\n") !=
        std::string::npos);
  CHECK(config.find("limit = 77\n") != std::string::npos);
  CHECK(config.find("[memory]\nlimit = \"96M\"\nbarrier = \"64M\"\n") != std::string::npos);
  CHECK(installation.pid_of("box") == init);

  installation.holm_ok({"set", "box", "cpu.cap=default", "memory.limit=default", "memory.barrier=default",
                        "pids.limit=default", "cpu.pin=default", "cpu.weight=default"});
  const json none = kernel_limits(installation, "box");
  CHECK(none["cpu"] ==
        json({{"weight", 256}, {"cap_percent", 0}, {"burst_percent", 0}, {"cpus", ""}, {"nodes", ""}}));
  CHECK(none["memory"]["limit"].is_null());
  CHECK(none["pids"]["limit"].is_null());
  CHECK(answer(installation, "box", "grep Cpus_allowed_list /proc/1/status | cut -f2") ==
        quotas::format_cpu_set(quotas::online_cpus()));
  CHECK(stored_config(installation, "box").find("[cpu]  # fair\n# as in Xen\n") != std::string::npos);
}

TEST_CASE("rates of disk I/O change while it runs, on the devices below its files") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kIdle);
  installation.holm_ok({"set", "box", "io.write=5M/s", "io.read_ops=500"});
  const json held = kernel_limits(installation, "box")["io"];
  CHECK(held["write"] == 5 << 20);
  CHECK(held["read_ops"] == 500);
  CHECK(held["read"].is_null());
  CHECK_FALSE(held["devices"].empty());
  CHECK(stored_config(installation, "box").find("[io]\nwrite = \"5M/s\"\nread_ops = 500\n") !=
        std::string::npos);
  installation.holm_ok({"set", "box", "io.write=default", "io.read_ops=default"});
  CHECK(kernel_limits(installation, "box")["io"]["devices"].empty());
  CHECK(installation.holm({"set", "box", "io.write=fast"}).status == 2);
}

TEST_CASE("--now is for this run, --saved for the next ones") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", std::string(kIdle) + "[pids]\nlimit = 90\n");
  installation.holm_ok({"set", "--saved", "box", "pids.limit=80"});
  installation.holm_ok({"set", "box", "cpu.weight=300"});
  CHECK(kernel_limits(installation, "box")["pids"]["limit"] == 90);  // not what is saved for the next start
  installation.holm_ok({"set", "--saved", "box", "pids.limit=90"});
  const std::string before = stored_config(installation, "box");
  installation.holm_ok({"set", "--now", "box", "pids.limit=50", "limits.nofile=200"});
  CHECK(kernel_limits(installation, "box")["pids"]["limit"] == 50);
  CHECK(stored_config(installation, "box") == before);
  CHECK(answer(installation, "box", "ulimit -n") == "200");  // what is executed later is of this run, too
  installation.holm_ok({"set", "--saved", "box", "pids.limit=70"});
  CHECK(kernel_limits(installation, "box")["pids"]["limit"] == 50);
  installation.holm_ok({"set", "box", "cpu.cap=30"});  // the rest of the run's own limits stays as it is
  CHECK(kernel_limits(installation, "box")["pids"]["limit"] == 50);
  installation.holm_ok({"reboot", "-t", "0", "box"});
  CHECK(kernel_limits(installation, "box")["pids"]["limit"] == 70);
  CHECK(kernel_limits(installation, "box")["cpu"]["cap_percent"] == 30);
  CHECK(answer(installation, "box", "ulimit -n") != "200");
}

TEST_CASE("a container that does not run takes changes for its next start, which is said") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.holm_ok({"create", installation.write_config("box", kIdle)});
  CHECK(installation.holm_ok({"set", "box", "pids.limit=70"}) ==
        "container 'box' does not run: saved for its next start\n");
  const Result now = installation.holm({"set", "--now", "box", "pids.limit=60"});
  CHECK(now.status == 1);
  CHECK(now.errors.starts_with("holm: cannot change container 'box': it is not running\n"));
  installation.holm_ok({"start", "box"});
  CHECK(kernel_limits(installation, "box")["pids"]["limit"] == 70);
}

TEST_CASE("changes of which one fails leave everything as it was") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", std::string(kHolder) + "[memory]\nlimit = \"96M\"\nswap = \"0\"\n");
  await_holding(installation, "box");
  const json limits = kernel_limits(installation, "box");
  const std::string config = stored_config(installation, "box");
  const Result refused =
      installation.holm({"set", "box", "cpu.cap=50", "cpu.weight=100", "pids.limit=60", "memory.limit=16M"});
  CHECK(refused.status == 1);
  CHECK_MESSAGE(refused.errors.find("to 16 MiB: the container holds 4") != std::string::npos, refused.errors);
  CHECK(kernel_limits(installation, "box") == limits);
  CHECK(stored_config(installation, "box") == config);
  CHECK(installation.column("box", "state") == "running");
  CHECK(answer(installation, "box", "stat -c %s /dev/shm/held") == "41943040");  // nothing was killed

  installation.holm_ok({"set", "box", "cpu.cap=50"});
  for (const std::string step :
       {"write limits", "record what the run has", "save the config", "lower process limits"}) {
    CAPTURE(step);
    const Result injected = installation.holm(
        {"set", "box", "cpu.cap=60", "pids.limit=61", "limits.nofile=99"}, {{"HOLM_FAULT", "error:" + step}});
    CHECK(injected.status == 1);
    CHECK(injected.errors.find("also:") == std::string::npos);
    const json after = kernel_limits(installation, "box");
    CHECK(after["cpu"]["cap_percent"] == 50);
    CHECK(after["pids"]["limit"].is_null());
    CHECK(answer(installation, "box", "grep 'Max open files' /proc/1/limits").find(" 99 ") ==
          std::string::npos);
    CHECK(stored_config(installation, "box").find("61") == std::string::npos);
  }
}

TEST_CASE("memory goes up and down on a live container: what can be reclaimed is, nobody is killed") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", std::string(kHolder) + "[memory]\nlimit = \"256M\"\nswap = \"0\"\n");
  await_holding(installation, "box");
  inside(installation, "box", "head -c 100000000 /dev/zero > /file; sync /file; cat /file > /dev/null");
  const auto held = [&] {
    return json::parse(installation.holm_ok({"--json", "inspect", "box"}))["memory_bytes"].get<uint64_t>();
  };
  CHECK(held() > 100 << 20);
  for (const char* size : {"128M", "64M", "200M", "60M", "256M"}) {
    CAPTURE(size);
    installation.holm_ok({"mem-set", "box", size});
    const uint64_t limit = parse_bytes(size)->count;
    CHECK(kernel_limits(installation, "box")["memory"]["limit"] == limit);
    CHECK(held() <= limit);
  }
  const Result refused = installation.holm({"mem-set", "box", "20"});  // MiB, as Xen has it
  CHECK(refused.status == 1);
  CHECK_MESSAGE(refused.errors.find("to 20 MiB: the container holds 4") != std::string::npos, refused.errors);
  CHECK(kernel_limits(installation, "box")["memory"]["limit"] == 256 << 20);
  CHECK(json::parse(installation.holm_ok({"--json", "inspect", "box"}))["oom_kills"] == 0);
  CHECK(installation.column("box", "state") == "running");
}

TEST_CASE("mem-max bounds mem-set, at once where the container has more") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", std::string(kIdle) + "[memory]\nlimit = \"128M\"\n");
  const Result above = installation.holm({"mem-set", "box", "1G"});
  CHECK(above.status == 1);
  CHECK(above.errors ==
        "holm: container 'box' may have at most 128 MiB\n  hint: 'holm mem-max box 1G' first\n");
  installation.holm_ok({"mem-max", "box", "1G"});
  CHECK(kernel_limits(installation, "box")["memory"]["limit"] == 128 << 20);
  installation.holm_ok({"mem-set", "box", "1G"});
  CHECK(kernel_limits(installation, "box")["memory"]["limit"] == 1 << 30);
  CHECK(installation.holm_ok({"mem-max", "box", "64"}).empty());
  CHECK(kernel_limits(installation, "box")["memory"]["limit"] == 64 << 20);
  CHECK(stored_config(installation, "box").find("limit = 67108864") != std::string::npos);
  installation.holm_ok({"stop", "-k", "box"});
  CHECK(installation.holm_ok({"mem-max", "box", "128"}) ==
        "container 'box' does not run: saved for its next start\n");
}

TEST_CASE("the names that Xen's users know do what they know") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", std::string(kIdle) + "[cpu]\nweight = 300\ncap = 40\n");
  installation.start("other", kIdle);
  CHECK(split_words(split(installation.holm_ok({"sched-credit"}), '\n')[0]) ==
        std::vector<std::string>{"Name", "ID", "Weight", "Cap"});
  const auto row = [&](const std::string& table, const std::string& name) {
    for (const std::string& line : split(table, '\n'))
      if (line.starts_with(name + " ")) return split_words(line);
    return std::vector<std::string>();
  };
  auto shown = row(installation.holm_ok({"sched-credit"}), "box");
  REQUIRE(shown.size() == 4);
  CHECK(shown[2] == "300");
  CHECK(shown[3] == "40");
  installation.holm_ok({"sched-credit", "-d", "box", "-w", "512", "-c", "80"});
  shown = row(installation.holm_ok({"sched-credit", "-d", "box"}), "box");
  REQUIRE(shown.size() == 4);
  CHECK(shown[2] == "512");
  CHECK(shown[3] == "80");
  CHECK(row(installation.holm_ok({"sched-credit", "-d", "box"}), "other").empty());
  CHECK(installation.holm({"sched-credit", "-w", "5"}).status == 2);
  installation.holm_ok({"stop", "-k", "other"});
  const Result both = installation.holm({"vcpu-list", "other", "box"});
  CHECK(both.status == 1);
  CHECK(both.errors.starts_with("holm: container 'other' is not running\n"));
  CHECK_FALSE(row(both.out, "box").empty());

  installation.holm_ok({"vcpu-set", "box", "1"});
  const json cpus = json::parse(installation.holm_ok({"--json", "vcpu-list", "box"}));
  REQUIRE(cpus.size() == 1);
  CHECK(cpus[0]["state"] == "-b-");
  installation.holm_ok({"vcpu-pin", "box", "all", last_cpu()});
  CHECK(row(installation.holm_ok({"vcpu-list"}), "box")[3] == last_cpu());
  installation.holm_ok({"pause", "box"});
  CHECK(row(installation.holm_ok({"vcpu-list"}), "box")[4] == "--p");
  installation.holm_ok({"resume", "box"});
  CHECK(installation.holm({"vcpu-pin", "box", "0", "0"}).status == 2);
  installation.holm_ok({"vcpu-pin", "box", "all", "all"});
  CHECK(stored_config(installation, "box").find("pin") == std::string::npos);
}

TEST_CASE("what cannot be is refused with what can, and nothing changes") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", std::string(kIdle) + "[memory]\nlimit = \"64M\"\nbarrier = \"32M\"\n");
  const json limits = kernel_limits(installation, "box");
  const std::string config = stored_config(installation, "box");
  const std::string cpus = std::to_string(::sysconf(_SC_NPROCESSORS_ONLN));
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"cpu.weight=0"}, "'cpu.weight' must be a whole number from 1 to 65536, not 0"},
      {{"cpu.weight=65537"}, "'cpu.weight' must be a whole number from 1 to 65536, not 65537"},
      {{"cpu.weight=-1"}, "'cpu.weight' must be a whole number from 1 to 65536, not -1"},
      {{"cpu.weight=99999999999999999999"}, "'cpu.weight' must be a whole number from 1 to 65536, not 9999"},
      {{"cpu.weight=much"}, "'cpu.weight' must be a whole number from 1 to 65536, not much"},
      {{"cpu.cap=100000"}, "'cpu.cap' is 100000 percent, more than " + cpus},
      {{"cpu.burst=5"}, "'cpu.burst' has no meaning without 'cpu.cap'"},
      {{"cpu.cap=10", "cpu.burst=11"}, "'cpu.burst' (11) is above 'cpu.cap' (10)"},
      {{"cpu.count=8192"}, "'cpu.count' is 8192, but this host has " + cpus},
      {{"cpu.pin=500"}, "'cpu.pin' names CPU 500, which this host does not have online"},
      {{"cpu.pin=zero"}, "'cpu.pin' must be a string with a list of CPUs"},
      {{"cpu.nodes=77"}, "'cpu.nodes' names NUMA node 77"},
      {{"memory.limit=16M"}, "'memory.barrier' (32 MiB) is above 'memory.limit' (16 MiB)"},
      {{"memory.limit=1K"}, "'memory.limit' must be a size from 4M to 1024T"},
      {{"memory.limit=lots"}, "'memory.limit' must be a size from 4M to 1024T, such as \"512M\""},
      {{"memory.limit=default", "memory.barrier=default", "memory.guarantee=1000T"},
       "'memory.guarantee' (1000 TiB) is more than this host has\n  hint: it has"},
      {{"pids.limit=0"}, "'pids.limit' must be"},
      {{"limits.nofile=0"}, "'limits.nofile' must be a whole number, at least 32, or \"unlimited\", not 0"},
      {{"limits.as=4K"}, "'limits.as' must be a size of at least 16M"},
      {{"limits.stack=1"}, "'limits.stack' must be a size of at least 64K"},
      {{"limits.cpu=0"}, "'limits.cpu' must be a whole number, at least 1"},
      {{"disk.size=1G"}, "'disk.size' is not available in this version"},
      {{"cpu.cap=" + std::string(1000, '9')}, std::string(80, '9') + "..."},
      {{"cpu.wieght=5"}, "there is no key 'cpu.wieght'\n  hint: did you mean 'cpu.weight'?"},
      {{"hostname=x"}, "'hostname' cannot be changed in place"},
      {{"network.mode=none"}, "'network.mode' cannot be changed in place"},
      {{"cpu.cap"}, "'cpu.cap' is no change"},
      {{"cpu.cap="}, "'cpu.cap=' has no value"},
      {{"=5"}, "'=5' is no change"},
      {{"cpu.cap=5", "cpu.cap=6"}, "'cpu.cap' is set twice"},
      {{"limits.nofile=1\n[cpu]"}, "'limits.nofile' must be"},
      {{"cpu.pin=0\"\nweight = 5 #"}, "'cpu.pin' must be"},
  };
  for (const auto& [words, expected] : cases) {
    CAPTURE(words.front());
    std::vector<std::string> command = {"set", "box"};
    command.insert(command.end(), words.begin(), words.end());
    const Result refused = installation.holm(command);
    CHECK(refused.status == 2);
    CHECK_MESSAGE(refused.errors.find(expected) != std::string::npos, refused.errors);
  }
  CHECK(installation.holm({"set", "nobody", "cpu.cap=5"}).status == 1);
  CHECK(installation.holm({"set", "box"}).status == 2);
  CHECK(installation.holm({"set", "--now", "--saved", "box", "cpu.cap=5"}).status == 2);
  CHECK(kernel_limits(installation, "box") == limits);
  CHECK(stored_config(installation, "box") == config);
}

TEST_CASE("pids.limit never goes below what is held: that would refuse every fork") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", "command = [\"/bin/sh\", \"-c\", \"sleep 1001 & sleep 1002 & wait\"]\n");
  CHECK(eventually([&] { return json::parse(installation.holm_ok({"--json", "ps", "box"})).size() == 3; }));
  installation.holm_ok({"set", "box", "pids.limit=50"});
  const Result refused = installation.holm({"set", "box", "pids.limit=2", "cpu.weight=300"});
  CHECK(refused.status == 1);
  CHECK_MESSAGE(refused.errors.find("set pids.limit to 2: the container holds 3 processes and threads") !=
                    std::string::npos,
                refused.errors);
  CHECK(kernel_limits(installation, "box")["pids"]["limit"] == 50);
  CHECK(kernel_limits(installation, "box")["cpu"]["weight"] != 300);
  installation.holm_ok({"set", "box", "pids.limit=3"});
  CHECK(kernel_limits(installation, "box")["pids"]["limit"] == 3);
  installation.holm_ok({"set", "--saved", "box", "pids.limit=2"});
}

TEST_CASE("resource limits reach every process, except one that lowered its own") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start(
      "box",
      "command = [\"/bin/sh\", \"-c\", \"(ulimit -n 50; exec sleep 1001) & sleep 1002 & wait\"]\n"
      "[limits]\nnofile = 300\n");
  const auto open_files = [&](const std::string& argument) {
    for (const json& process : json::parse(installation.holm_ok({"--json", "ps", "box"}))) {
      if (process["command"].get<std::string>().find("sleep " + argument) != 0) continue;
      for (const std::string& line :
           split(read_file(fmt::format("/proc/{}/limits", process["pid"].get<int>())), '\n'))
        if (line.starts_with("Max open files")) return split_words(line)[3] + " " + split_words(line)[4];
    }
    return std::string("no such process");
  };
  CHECK(eventually([&] { return open_files("1001") == "50 50"; }));
  CHECK(eventually([&] { return open_files("1002") == "300 300"; }));
  installation.holm_ok({"set", "box", "limits.nofile=250"});
  CHECK(open_files("1002") == "250 250");
  CHECK(open_files("1001") == "50 50");
  CHECK(answer(installation, "box", "ulimit -n") == "250");
  CHECK(stored_config(installation, "box").find("nofile = 250\n") != std::string::npos);
}

TEST_CASE(
    "a set that is killed at any step is finished or taken back by the next command, and can be said again") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", std::string(kIdle) + "[memory]\nlimit = \"128M\"\n[limits]\nnofile = 300\n");
  const pid_t init = installation.pid_of("box");
  std::vector<std::string> words = {"set", "box", "memory.limit=64M", "cpu.cap=50", "limits.nofile=200"};
  const std::string trace = installation.directory() + "/trace";
  installation.holm(words, {{"HOLM_FAULT_TRACE", trace}});
  const std::vector<std::string> steps = split(std::string(trim(read_file(trace))), '\n');
  CHECK(steps.size() >= 6);
  int open_files = 200;
  for (const std::string& step : part_of(steps)) {
    CAPTURE(step);
    words.back() = fmt::format("limits.nofile={}", --open_files);  // a host may not be able to raise it again
    installation.holm_ok({"set", "box", "memory.limit=128M", "cpu.cap=0"});
    CHECK(installation.holm(words, {{"HOLM_FAULT", "kill:" + step}}).status == 128 + SIGKILL);
    installation.holm_ok({"gc"});  // as any command that takes the container's lock
    const json limits = kernel_limits(installation, "box");
    const bool is_done = limits["memory"]["limit"] == 64 << 20;
    CHECK((is_done || limits["memory"]["limit"] == 128 << 20));
    CHECK(limits["cpu"]["cap_percent"] == (is_done ? 50 : 0));
    const std::string config = stored_config(installation, "box");
    CHECK((config.find("cap = 50") != std::string::npos) == is_done);
    CHECK((config.find(fmt::format("nofile = {}\n", open_files)) != std::string::npos) == is_done);
    CHECK((answer(installation, "box", "ulimit -n") == std::to_string(open_files)) == is_done);
    CHECK(read_file_if_exists(installation.run_directory() + "/box/change.json") == std::nullopt);
    installation.holm_ok(words);
    CHECK(installation.column("box", "state") == "running");
    CHECK(kernel_limits(installation, "box")["memory"]["limit"] == 64 << 20);
    CHECK(answer(installation, "box", "ulimit -n") == std::to_string(open_files));
  }
  CHECK(installation.pid_of("box") == init);
}

TEST_CASE(
    "what a command that was killed within a frozen moment left is thawed by the next, a pause is not") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kIdle);
  const std::string mark = installation.run_directory() + "/box/frozen";
  installation.holm_ok({"pause", "box"});
  installation.holm_ok({"gc"});
  CHECK(installation.column("box", "state") == "paused");
  replace_file(mark, "");  // as it stands while such a moment lasts
  installation.holm_ok({"gc"});
  CHECK(installation.column("box", "state") == "running");
  CHECK(read_file_if_exists(mark) == std::nullopt);
}

TEST_CASE("a container that is paused stays paused while it is changed") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", std::string(kIdle) + "[memory]\nlimit = \"128M\"\n");
  installation.holm_ok({"pause", "box"});
  installation.holm_ok({"set", "box", "memory.limit=64M", "limits.nofile=200"});
  CHECK(installation.column("box", "state") == "paused");
  CHECK(kernel_limits(installation, "box")["memory"]["limit"] == 64 << 20);
  installation.holm_ok({"resume", "box"});
  CHECK(answer(installation, "box", "grep 'Max open files' /proc/1/limits").find(" 200 ") !=
        std::string::npos);
}

TEST_CASE("many sets at once are made one after the other, none is lost") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kIdle);
  std::vector<pid_t> commands;
  for (const char* change : {"cpu.weight=512", "cpu.cap=40", "pids.limit=40", "memory.limit=400M",
                             "memory.barrier=300M", "limits.nofile=400"})
    commands.push_back(installation.holm_background({"set", "box", change}));
  for (const pid_t command : commands) CHECK(wait_status(command) == 0);
  const std::string config = stored_config(installation, "box");
  for (const char* line : {"weight = 512\n", "cap = 40\n", "limit = 40\n", "limit = \"400M\"\n",
                           "barrier = \"300M\"\n", "nofile = 400\n"})
    CHECK_MESSAGE(config.find(line) != std::string::npos, config);
  const json held = kernel_limits(installation, "box");
  CHECK(held["cpu"]["weight"] == 512);
  CHECK(held["memory"]["barrier"] == 300 << 20);
  CHECK(held["pids"]["limit"] == 40);
}
