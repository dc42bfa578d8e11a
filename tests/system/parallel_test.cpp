// Many commands at once: every container gets things of its own, and nothing is left of any.
#include <dirent.h>
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/holm_runner.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr const char* kNat = "command = [\"/bin/sleep\", \"1000\"]\n[[network]]\nmode = \"nat\"\n";
constexpr const char* kSleeper = "command = [\"/bin/sleep\", \"1000\"]\n";

std::vector<int> wait_all(const std::vector<pid_t>& pids) {
  std::vector<int> statuses;
  for (const pid_t pid : pids) statuses.push_back(wait_status(pid));
  return statuses;
}

size_t count(const std::vector<int>& statuses, int wanted) {
  return static_cast<size_t>(std::count(statuses.begin(), statuses.end(), wanted));
}

size_t lines_of(const std::string& path) {
  const std::string text = read_file_if_exists(path, 64 << 20).value_or("");
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

size_t cgroups_below(const std::string& directory) {
  size_t found = 0;
  for (const std::string& name : list_directory(directory)) {
    const auto status = sys::stat_path(directory + "/" + name);
    if (!status || !S_ISDIR(status->st_mode)) continue;
    ++found;
    if (parse_unsigned(name)) found += cgroups_below(directory + "/" + name);
  }
  return found;
}

// What the host holds on account of this installation; it must be the same before and after.
std::map<std::string, size_t> holdings(const Installation& installation, const std::string& name) {
  std::map<std::string, size_t> held;
  held["mounts"] = lines_of("/proc/self/mountinfo");
  held["left over"] = installation.leftovers().size();
  for (const std::string& parent : installation.cgroup_parents())
    if (sys::exists(parent)) held["cgroups"] += cgroups_below(parent);
  for (const std::string& link : list_directory("/sys/class/net"))
    if (link.starts_with("hm" + installation.mark())) ++held["links"];
  for (const std::string& entry : list_directory("/proc")) {
    if (!parse_unsigned(entry)) continue;
    std::string environment;
    ignore_errors(
        [&] { environment = read_file_if_exists("/proc/" + entry + "/environ").value_or(""); });  // it ended
    if (environment.find("HOLM_RUN_DIR=" + installation.run_directory()) != std::string::npos)
      ++held["processes"];
  }
  for (const auto& directory : {installation.run_directory(), installation.run_directory() + "/" + name,
                                installation.state_directory() + "/containers/" + name})
    held["files in " + directory] = list_directory(directory).size();
  return held;
}

std::string text_of(const std::map<std::string, size_t>& held) {
  std::string text;
  for (const auto& [what, number] : held) text += fmt::format("{} {}\n", number, what);
  return text;
}

}  // namespace

TEST_CASE("20 containers that are started at the same moment all run, and share nothing") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Installation installation;
  std::vector<std::string> names, configs;
  for (int i = 0; i < 20; ++i) {
    names.push_back(fmt::format("c{}", i));
    configs.push_back(installation.write_config(names.back(), kNat));
  }
  std::vector<pid_t> commands;
  for (const std::string& config : configs)
    commands.push_back(installation.holm_background({"start", config}));
  CHECK(count(wait_all(commands), 0) == 20);

  const json list = json::parse(installation.holm_ok({"--json", "list"}));
  REQUIRE(list.size() == 20);
  std::set<int> numbers;
  std::set<pid_t> pids;
  std::set<std::string> addresses;
  std::set<uint64_t> ranges;
  for (const json& container : list) {
    CHECK(container.at("state") == "running");
    numbers.insert(container.at("number").get<int>());
    pids.insert(container.at("pid").get<pid_t>());
    for (const auto& address : container.at("addresses")) addresses.insert(address.get<std::string>());
    const json inspected =
        json::parse(installation.holm_ok({"--json", "inspect", container.at("name").get<std::string>()}));
    CHECK(inspected.at("ids").at("count") == 65536);
    ranges.insert(inspected.at("ids").at("first").get<uint64_t>());
    // What the container itself sees is what is said of it.
    const Result inside = installation.holm({"exec", container.at("name").get<std::string>(), "sh", "-c",
                                             "ip -4 -o addr show dev eth0; cat /proc/self/uid_map"});
    CHECK(inside.out.find(" " + container.at("addresses")[0].get<std::string>() + "/") != std::string::npos);
    const auto map = split_words(inside.out.substr(inside.out.rfind('\n', inside.out.size() - 2)));
    CHECK(map == std::vector<std::string>{
                     "0", std::to_string(inspected.at("ids").at("first").get<uint64_t>()), "65536"});
  }
  CHECK(numbers.size() == 20);
  CHECK(pids.size() == 20);
  CHECK(ranges.size() == 20);
  CHECK(addresses.size() == list[0].at("addresses").size() * 20);

  commands.clear();
  for (const std::string& name : names)
    commands.push_back(installation.holm_background({"stop", "-k", name}));
  CHECK(count(wait_all(commands), 0) == 20);
  CHECK(installation.holm_ok({"list", "-H"}).empty());
  commands.clear();
  for (const std::string& name : names) commands.push_back(installation.holm_background({"destroy", name}));
  CHECK(count(wait_all(commands), 0) == 20);
  CHECK(installation.holm_ok({"list", "-a", "-H"}).empty());
}

TEST_CASE("of many creates of one name exactly one wins, of many starts exactly one starts") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config = installation.write_config("box", kSleeper);
  for (int round = 0; round < 5; ++round) {
    std::vector<pid_t> commands;
    for (int i = 0; i < 6; ++i) commands.push_back(installation.holm_background({"create", config}));
    auto statuses = wait_all(commands);
    CHECK(count(statuses, 0) == 1);
    CHECK(count(statuses, 1) == 5);
    CHECK(list_directory(installation.state_directory() + "/numbers").size() == 1);
    commands.clear();
    for (int i = 0; i < 6; ++i)
      commands.push_back(installation.holm_background({"start", i % 2 ? "box" : config}));
    statuses = wait_all(commands);
    CHECK(count(statuses, 0) == 1);
    CHECK(count(statuses, 1) == 5);
    CHECK(installation.column("box", "pids") == "1");
    commands.clear();
    for (int i = 0; i < 4; ++i)
      commands.push_back(installation.holm_background({"destroy", "--force", "box"}));
    statuses = wait_all(commands);
    CHECK(count(statuses, 0) >= 1);
    CHECK(installation.column("box", "state").empty());
    CHECK(list_directory(installation.state_directory() + "/numbers").empty());
  }
}

TEST_CASE("start and destroy of one name may race: what is left is whole") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Installation installation;
  installation.start("bystander", kNat);
  const std::string config = installation.write_config("box", kNat);
  for (int round = 0; round < part_of(20); ++round) {
    CAPTURE(round);
    const pid_t start = installation.holm_background({"start", config});
    if (round % 3 != 0) std::this_thread::sleep_for(std::chrono::milliseconds(round));
    const pid_t destroy = installation.holm_background({"destroy", "--force", "box"});
    const pid_t gc = installation.holm_background({"gc"});
    const int started = wait_status(start);
    const int destroyed = wait_status(destroy);
    CHECK(wait_status(gc) == 0);
    CHECK((started == 0 || started == 1));
    CHECK((destroyed == 0 || destroyed == 1));
    const std::string state = installation.column("box", "state");
    CHECK((state.empty() || state == "running" || state == "stopped"));
    if (state == "running") CHECK(installation.holm({"exec", "box", "true"}).status == 0);
    if (destroyed != 0) CHECK(started == 0);
    if (!state.empty()) CHECK(installation.holm({"destroy", "--force", "box"}).status == 0);
    CHECK(list_directory(installation.state_directory() + "/numbers").size() == 1);
    CHECK(list_directory(installation.run_directory()) == std::vector<std::string>{"bystander"});
  }
  CHECK(installation.column("bystander", "state") == "running");
}

TEST_CASE("stop, start, pause, reboot and kill of one container at once leave it whole") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config = installation.write_config("box", kSleeper);
  installation.holm_ok({"start", config});
  for (int round = 0; round < 6; ++round) {
    std::vector<pid_t> commands;
    for (const auto& words : std::vector<std::vector<std::string>>{{"stop", "-k", "box"},
                                                                   {"start", "box"},
                                                                   {"pause", "box"},
                                                                   {"resume", "box"},
                                                                   {"reboot", "-t", "0", "box"},
                                                                   {"kill", "box"},
                                                                   {"exec", "box", "true"},
                                                                   {"list", "-a"}})
      commands.push_back(installation.holm_background(words));
    const auto statuses = wait_all(commands);
    CHECK(statuses.back() == 0);
    // No command crashed; the one inside may have been ended by SIGTERM or SIGKILL.
    for (const int status : statuses)
      CHECK_MESSAGE((status <= 2 || status == 125 || status == 128 + SIGKILL || status == 128 + SIGTERM),
                    status);
    CHECK(eventually([&] {
      const std::string state = installation.column("box", "state");
      return state == "running" || state == "stopped" || state == "paused";
    }));
    installation.holm({"stop", "-k", "box"});
    CHECK(installation.column("box", "state") == "stopped");
    installation.holm_ok({"start", "box"});
    CHECK(installation.column("box", "pids") == "1");
  }
}

TEST_CASE("8 execs at a time, 50 times, leave the container and the host as they were") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kSleeper);
  const auto before = holdings(installation, "box");
  for (int round = 0; round < part_of(50); ++round) {
    std::vector<pid_t> commands;
    for (int i = 0; i < 8; ++i)
      commands.push_back(
          installation.holm_background({"exec", "box", "sh", "-c", fmt::format("exit {}", i)}));
    const auto statuses = wait_all(commands);
    for (int i = 0; i < 8; ++i) CHECK(statuses[static_cast<size_t>(i)] == i);
  }
  CHECK(eventually([&] { return installation.column("box", "pids") == "1"; }));
  // The ledger's sampler may be at work.
  CHECK_MESSAGE(eventually([&] { return holdings(installation, "box") == before; }, 3s),
                text_of(holdings(installation, "box")), "-- instead of\n", text_of(before));
  CHECK(json::parse(installation.holm_ok({"--json", "ps", "box"})).size() == 1);
}

TEST_CASE("100 starts and stops of one container leave the host as it was") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Installation installation;
  const std::string config = installation.write_config("box", kNat);
  const auto cycle = [&](int number) {
    const Result start = installation.holm({"start", config});
    CHECK_MESSAGE(start.status == 0, start.errors);
    const Result stop = installation.holm({"stop", number % 4 ? "-k" : "--timeout=2", "box"});
    CHECK_MESSAGE(stop.status == 0, stop.errors);
  };
  cycle(0);
  cycle(1);
  // Whoever wrote the last sample waits for the disk when the monitor has gone.
  CHECK(eventually([&] { return !holdings(installation, "box").contains("processes"); }));
  const auto before = holdings(installation, "box");
  for (int i = 0; i < part_of(100); ++i) cycle(i);
  // A link ends a moment after its network namespace.
  CHECK_MESSAGE(eventually([&] { return holdings(installation, "box") == before; }, 3s),
                text_of(holdings(installation, "box")), "-- instead of\n", text_of(before));
}

TEST_CASE("a monitor holds as many descriptors after many consoles, stops and execs as before") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kSleeper);
  const auto monitor = [&] {
    return json::parse(installation.holm_ok({"--json", "list"}))[0].at("monitor_pid").get<pid_t>();
  };
  const pid_t pid = monitor();
  const auto descriptors = [&] {
    std::vector<std::string> found;
    const std::string directory = fmt::format("/proc/{}/fd/", pid);
    for (const std::string& fd : list_directory(directory))
      ignore_errors([&] { found.push_back(sys::read_link(directory + fd)); });  // it was closed just now
    return found;
  };
  // A start ends with the opening of the network namespace; a pipe leads to a sampler.
  std::vector<std::string> before;
  CHECK(eventually([&] {
    before = descriptors();
    const auto has = [&](const char* kind) {
      return std::ranges::any_of(before, [&](const std::string& target) { return target.starts_with(kind); });
    };
    return has("net:[") && !has("pipe:[");
  }));
  for (int i = 0; i < part_of(30); ++i) {
    const pid_t console = installation.holm_background({"console", "box"});
    std::this_thread::sleep_for(10ms);
    ::kill(console, SIGTERM);
    wait_status(console);
    installation.holm({"exec", "box", "true"});
    installation.holm({"pause", "box"});
    installation.holm({"resume", "box"});
  }
  for (int i = 0; i < 5; ++i) installation.holm_ok({"reboot", "-t", "0", "box"});
  CHECK(monitor() == pid);
  CHECK(eventually([&] { return descriptors().size() == before.size(); }, 3s));
}
