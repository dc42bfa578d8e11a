// The ledger's sums against the kernel's own totals, whatever is stopped, started and killed meanwhile.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/cgroup.h"
#include "quotas/database.h"
#include "tests/support/inside.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

constexpr const char* kIdle = "command = [\"/bin/sleep\", \"1000\"]\n";
constexpr const char* kBusy = "command = [\"/bin/sh\", \"-c\", \"while :; do :; done\"]\n";
constexpr const char* kNat = "[[network]]\nmode = \"nat\"\n";

json usage(const Installation& installation, const std::vector<std::string>& words = {}) {
  std::vector<std::string> all = {"--json", "usage"};
  all.insert(all.end(), words.begin(), words.end());
  return json::parse(installation.holm_ok(all));
}

uint64_t total(const Installation& installation, const std::string& quantity) {
  return usage(installation)["total"][quantity].get<uint64_t>();
}

void sample(const Installation& installation) { installation.holm_ok({"account", "sample"}); }

// `end` ends a run. Where the ledger takes no last sample for as long as a monitor waits for that, the next
// sample takes it in.
void end_run(const Installation& installation, const std::function<void()>& end) {
  const auto begin = std::chrono::steady_clock::now();
  end();
  if (std::chrono::steady_clock::now() - begin >= 3s) sample(installation);
}

void stop_box(const Installation& installation) {
  end_run(installation, [&] { installation.holm_ok({"stop", "-k", "box"}); });
}

bool has_sampler(const Installation& installation) {
  for (const std::string& entry : list_directory("/proc")) {
    bool is_one = false;
    ignore_errors([&] {  // no process, or it ended
      is_one =
          read_file("/proc/" + entry + "/comm") == "holm-sampler\n" &&
          read_file("/proc/" + entry + "/environ").find("HOLM_RUN_DIR=" + installation.run_directory()) !=
              std::string::npos;
    });
    if (is_one) return true;
  }
  return false;
}

// Waits for the monitor's own sample after the start, which is the only one that nobody asked for.
void await_own_sample(const Installation& installation) {
  CHECK(eventually([&] { return total(installation, "cpu_ns") > 0; }));
  CHECK(eventually([&] { return !has_sampler(installation); }));
}

// A group's CPU time as the ledger takes it: in nanoseconds where the host has v1's count.
struct CpuCount {
  uint64_t nanoseconds = 0;
  bool is_exact = false;  // v2 rounds to microseconds
};

CpuCount cpu_of(const std::vector<std::string>& groups) {
  CpuCount found;
  for (const std::string& group : groups) {
    if (const auto text = read_file_if_exists(group + "/cpuacct.usage"))
      return {*parse_unsigned(trim(*text)), true};
    if (const auto text = read_file_if_exists(group + "/cpu.stat"))
      for (const std::string& line : split(*text, '\n'))
        if (line.starts_with("usage_usec ")) found.nanoseconds = *parse_unsigned(line.substr(11)) * 1000;
  }
  return found;
}

// All that was ever used below this installation's parent group, in containers that are gone, too.
CpuCount cpu_of_all(const Installation& installation) { return cpu_of(installation.cgroup_parents()); }

bool monitors_stand_apart() {
  return quotas::detect_cgroup_manager() != quotas::CgroupLayout::Manager::systemd;
}

// All that the ledger has counted is all that was used. v2 rounds each run's down to a microsecond.
void check_cpu(const Installation& installation, uint64_t runs) {
  const CpuCount kernel = cpu_of_all(installation);
  const uint64_t counted = total(installation, "cpu_ns");
  CHECK(counted > 0);
  if (!monitors_stand_apart()) return;
  CAPTURE(kernel.nanoseconds);
  CAPTURE(counted);
  CHECK(counted <= kernel.nanoseconds);
  CHECK(kernel.nanoseconds - counted <= (kernel.is_exact ? 0 : runs * 1000));
}

// What was kept, too.
void check_cpu_later(const Installation& installation, uint64_t runs) {
  sample(installation);
  check_cpu(installation, runs);
}

struct Statistics {
  uint64_t received_bytes, sent_bytes, received_packets, sent_packets;
  bool operator==(const Statistics&) const = default;
};

// As the container sees it, from the host's end.
Statistics statistics_of(const Installation& installation, const std::string& name) {
  const std::string link = fmt::format("/sys/class/net/hm{}-{}/statistics/", installation.mark(),
                                       installation.column(name, "number"));
  const auto read = [&](const char* file) { return *parse_unsigned(trim(read_file(link + file))); };
  return {read("tx_bytes"), read("rx_bytes"), read("tx_packets"), read("rx_packets")};
}

}  // namespace

TEST_CASE("sums are the kernel's totals to the last nanosecond and byte") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Installation installation;
  installation.start("box", std::string(kIdle) + kNat);
  const Result work =
      inside(installation, "box",
             "gateway=$(ip route | awk '/default/ {print $3}'); ping -c 3 -s 1000 $gateway >/dev/null; "
             "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; "
             "dd if=/dev/zero of=/file bs=64k count=64 conv=fsync 2>/dev/null");
  CHECK_MESSAGE(work.status == 0, work.errors);
  installation.holm_ok({"pause", "box"});
  const json inspected = json::parse(installation.holm_ok({"--json", "inspect", "box"}));
  const auto groups = inspected["cgroups"].get<std::vector<std::string>>();
  // The bridge may still say something: until nothing came while the sample was taken.
  json sums;
  Statistics before = {}, after = {};
  CHECK(eventually([&] {
    before = statistics_of(installation, "box");
    sample(installation);
    after = statistics_of(installation, "box");
    sums = usage(installation, {"box"})["rows"][0];
    return before == after;
  }));
  CHECK(sums["cpu_ns"] == cpu_of(groups).nanoseconds);
  CHECK(sums["cpu_ns"].get<uint64_t>() > 0);
  CHECK(sums["net_received_bytes"] == after.received_bytes);
  CHECK(sums["net_sent_bytes"] == after.sent_bytes);
  CHECK(sums["net_received_packets"] == after.received_packets);
  CHECK(sums["net_sent_packets"] == after.sent_packets);
  CHECK(after.sent_bytes > 3000);
  CHECK(sums["memory_peak_bytes"].get<uint64_t>() > 0);
  CHECK(sums["state"] == "paused");
  // Again, it stands still but for its uptime.
  const uint64_t uptime = sums["uptime_ns"];
  sample(installation);
  const json again = usage(installation, {"box"})["rows"][0];
  CHECK(again["cpu_ns"] == sums["cpu_ns"]);
  CHECK(again["uptime_ns"].get<uint64_t>() > uptime);
  installation.holm_ok({"resume", "box"});
}

TEST_CASE("over stops, starts, reboots, crashes and killed monitors no CPU time is lost or counted twice") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config = installation.write_config("box", std::string(kBusy) + "on_crash = \"stop\"\n");
  installation.holm_ok({"start", config});
  ::usleep(200'000);
  stop_box(installation);
  check_cpu(installation, 1);
  installation.holm_ok({"start", "box"});
  sample(installation);
  installation.holm_ok({"reboot", "-t", "100ms", "box"});
  sample(installation);
  stop_box(installation);
  check_cpu(installation, 3);

  installation.holm_ok({"start", "box"});
  const pid_t crashing = installation.pid_of("box");
  REQUIRE(crashing > 1);
  end_run(installation, [&] {
    ::kill(crashing, SIGKILL);
    CHECK(eventually([&] { return installation.column("box", "state") == "stopped"; }));
  });
  check_cpu(installation, 4);

  installation.holm_ok({"start", "box"});
  const pid_t monitor = installation.monitor_of("box");
  REQUIRE(monitor > 1);
  ::kill(monitor, SIGKILL);
  CHECK(eventually([&] { return installation.column("box", "state") == "orphaned"; }));
  sample(installation);  // adopts it, too
  CHECK(eventually([&] { return installation.column("box", "state") == "running"; }));
  CHECK(installation.monitor_of("box") != monitor);
  stop_box(installation);
  check_cpu(installation, 5);

  // An end that nobody saw.
  installation.holm_ok({"start", "box"});
  const pid_t second = installation.monitor_of("box"), init = installation.pid_of("box");
  REQUIRE((second > 1 && init > 1));
  ::kill(second, SIGKILL);
  ::kill(init, SIGKILL);
  CHECK(eventually([&] { return installation.column("box", "state") == "stopped"; }));
  // `wait` finds it ended; gc would take the parent's group and its count along.
  end_run(installation, [&] { installation.holm({"wait", "box"}); });
  check_cpu(installation, 6);
}

TEST_CASE("what a container sent right before its end is counted, though nobody had looked at it before") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Installation installation;
  const std::string config = installation.write_config(
      "box",
      std::string(
          "command = [\"/bin/sh\", \"-c\", \"ping -c 2 -i 0.1 -s 5000 $(ip route | awk '/default/ {print "
          "$3}') >/dev/null\"]\n") +
          kNat);
  end_run(installation, [&] { CHECK(installation.holm({"run", config}).status == 0); });
  CHECK(total(installation, "net_sent_bytes") >= 10'000);
  CHECK(total(installation, "net_received_bytes") >= 10'000);
  end_run(installation, [&] { CHECK(installation.holm({"run", "--rm", "box"}).status == 0); });
  CHECK(total(installation, "net_sent_bytes") >= 20'000);
  const json row = usage(installation)["rows"][0];
  CHECK(row["name"] == "box");
  CHECK(row["state"] == "destroyed");
}

TEST_CASE("uptime is the time between init's start and its end, paused or not") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const auto clock = [] {
    timespec now = {};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return uint64_t{1'000'000'000} * static_cast<uint64_t>(now.tv_sec) + static_cast<uint64_t>(now.tv_nsec);
  };
  const std::string config = installation.write_config("box", kIdle);
  installation.holm_ok({"create", config});
  const uint64_t before_start = clock();
  installation.holm_ok({"start", "box"});
  const uint64_t started = clock();
  installation.holm_ok({"pause", "box"});
  ::usleep(300'000);
  sample(installation);
  ::usleep(100'000);
  const uint64_t before_stop = clock();
  installation.holm_ok({"stop", "-k", "box"});
  const uint64_t stopped = clock();
  ::usleep(100'000);
  sample(installation);
  const uint64_t uptime = total(installation, "uptime_ns");
  constexpr uint64_t kTick = 10'000'000;  // the kernel tells init's start in such ticks
  CHECK(uptime >= before_stop - started);
  CHECK(uptime <= stopped - before_start + kTick);
}

TEST_CASE("samplers beside each other, while containers start and stop, count nothing twice") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  for (const char* name : {"one", "two"})
    installation.holm_ok({"create", installation.write_config(name, kBusy)});
  std::vector<pid_t> samplers;
  for (int i = 0; i < 2; ++i)
    samplers.push_back(installation.holm_background({"account", "sample", "--every", "1s"}));
  uint64_t runs = 0;
  for (int round = 0; round < part_of(6); ++round) {
    for (const char* name : {"one", "two"}) installation.holm_ok({"start", name});
    for (int i = 0; i < 5; ++i) sample(installation);
    for (const char* name : {"one", "two"}) installation.holm_ok({"stop", "-k", name});
    runs += 2;
  }
  for (const pid_t sampler : samplers) {
    ::kill(sampler, SIGKILL);
    wait_status(sampler);
  }
  sample(installation);
  check_cpu(installation, runs);
}

TEST_CASE("a sampler that is killed or fails at any step has counted all or nothing") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kBusy);
  await_own_sample(installation);
  const json groups = json::parse(installation.holm_ok({"--json", "inspect", "box"}))["cgroups"];
  for (const char* step : {"lock the ledger", "read the totals", "write the ledger", "commit the ledger"}) {
    for (const char* action : {"kill:", "error:"}) {
      CAPTURE(step);
      CAPTURE(action);
      const uint64_t before = total(installation, "cpu_ns");
      const Result result =
          installation.holm({"account", "sample"}, {{"HOLM_FAULT", std::string(action) + step}});
      CHECK(result.status != 0);
      CHECK(total(installation, "cpu_ns") == before);
    }
  }
  installation.holm_ok({"pause", "box"});
  sample(installation);
  CHECK(total(installation, "cpu_ns") == cpu_of(groups.get<std::vector<std::string>>()).nanoseconds);
  installation.holm_ok({"resume", "box"});
}

TEST_CASE("a monitor's sampler that is killed or fails at any step of the last sample loses nothing of it") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config = installation.write_config("box", kBusy);
  uint64_t runs = 0;
  for (const char* step : {"lock the ledger", "read the totals", "write the ledger", "commit the ledger"}) {
    for (const char* action : {"kill:", "error:"}) {
      CAPTURE(step);
      CAPTURE(action);
      CHECK(installation.holm({"start", config}, {{"HOLM_FAULT", std::string(action) + step}}).status == 0);
      installation.holm_ok({"stop", "-k", "box"});
      check_cpu_later(installation, ++runs);
    }
  }
  // The monitor itself: whoever finds that it is gone looks for the last time.
  for (const char* step : {"kill processes", "remove cgroup"}) {
    CAPTURE(step);
    CHECK(installation.holm({"start", config}, {{"HOLM_FAULT", std::string("kill:") + step}}).status == 0);
    installation.holm({"stop", "-k", "box"});
    installation.holm({"wait", "box"});
    check_cpu_later(installation, ++runs);
  }
}

TEST_CASE("a ledger that cannot be written harms no container, and what it missed is counted later") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config = installation.write_config("box", kBusy),
                    ledger = installation.state_directory() + "/ledger.db";
  sys::make_directory(ledger, 0700);  // no file of that name can be made
  for (int round = 0; round < 2; ++round) {
    installation.holm_ok({"start", config});
    const Result result = installation.holm({"account", "sample"});
    CHECK(result.status == 1);
    CHECK_MESSAGE(result.errors.find(ledger) != std::string::npos, result.errors);
    installation.holm_ok({"pause", "box"});
    installation.holm_ok({"resume", "box"});
    installation.holm_ok({"reboot", "-t", "100ms", "box"});
    installation.holm_ok({"stop", "-k", "box"});
  }
  CHECK(installation.holm_ok({"log", "--monitor", "box"}).find(ledger) != std::string::npos);
  CHECK(list_directory(installation.state_directory() + "/ledger.kept").size() == 4);
  installation.holm_ok({"destroy", "box"});
  sys::remove_directory(ledger);
  sample(installation);
  check_cpu(installation, 4);
  CHECK(list_directory(installation.state_directory() + "/ledger.kept").empty());
  CHECK(usage(installation)["rows"].size() == 1);
}

TEST_CASE("a ledger that another process keeps locked delays a stop by seconds only, and nothing is lost") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kBusy);
  sample(installation);
  {
    const quotas::Database held(installation.state_directory() + "/ledger.db",
                                quotas::Database::Access::write);
    held.execute("BEGIN IMMEDIATE");
    const TimedResult stop = holm_timed(installation, {"stop", "-k", "box"}, "60");
    CHECK(stop.status == 0);
    CHECK(stop.seconds < 5 * patience());
    const Result refused = installation.holm({"account", "sample"});
    CHECK(refused.status == 1);
    CHECK(refused.errors.find("another process has been writing it for 5 s") != std::string::npos);
  }
  CHECK(list_directory(installation.state_directory() + "/ledger.kept").size() == 1);
  sample(installation);
  check_cpu(installation, 1);
}

TEST_CASE("a damaged ledger is moved aside and told, and counting goes on") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kIdle);
  await_own_sample(installation);  // else it may find the damage before we do
  sample(installation);
  const std::string ledger = installation.state_directory() + "/ledger.db";
  sys::remove_file(ledger + "-wal");
  write_file_durably(ledger, std::string(9000, 'x'));
  const Result first = installation.holm({"account", "sample"});
  CHECK(first.status == 1);
  CHECK_MESSAGE(first.errors.find("the ledger was damaged") != std::string::npos, first.errors);
  sample(installation);
  const Result shown = installation.holm({"usage"});
  CHECK(shown.status == 0);
  CHECK(shown.errors.find("ledger.db.damaged-") != std::string::npos);
  CHECK(total(installation, "cpu_ns") > 0);
  installation.holm_ok({"stop", "-k", "box"});
}

TEST_CASE("a ledger that was emptied is not taken for a new one") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kIdle);
  await_own_sample(installation);  // else it may find the damage before we do
  sample(installation);
  run_host({"truncate", "-s", "0", installation.state_directory() + "/ledger.db"});
  const Result shown = installation.holm({"usage"});
  CHECK(shown.status == 1);
  CHECK_MESSAGE(shown.errors.find("it is empty, and its log is not") != std::string::npos, shown.errors);
  const Result first = installation.holm({"account", "sample"});
  CHECK(first.status == 1);
  CHECK_MESSAGE(first.errors.find("the ledger was damaged") != std::string::npos, first.errors);
  sample(installation);
  CHECK(total(installation, "cpu_ns") > 0);
}

TEST_CASE("usage follows a name that changes, outlives its container, and is not mixed with the next one's") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kIdle);
  stop_box(installation);
  installation.holm_ok({"rename", "box", "old"});
  CHECK(usage(installation)["rows"][0]["name"] == "old");
  CHECK(usage(installation)["rows"][0]["state"] == "stopped");
  installation.start("box", kIdle);
  installation.holm_ok({"destroy", "--force", "old"});
  sample(installation);
  const json rows = usage(installation)["rows"];
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["state"] == "running");
  CHECK(rows[1]["state"] == "destroyed");
  CHECK(rows[0]["uuid"] != rows[1]["uuid"]);
  CHECK(usage(installation, {"old"})["rows"].size() == 1);
  CHECK(usage(installation, {rows[0]["uuid"]})["rows"][0]["name"] == "box");
  const Result unknown = installation.holm({"usage", "bax"});
  CHECK(unknown.status == 1);
  CHECK(unknown.errors == "holm: no usage of a container 'bax' is known\n  hint: did you mean 'box'?\n");
}

TEST_CASE("a container of an older Holm is counted under an id that stays") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.holm_ok({"create", installation.write_config("box", kIdle)});
  const std::string path = installation.state_directory() + "/containers/box/identity.json";
  json identity = json::parse(read_file(path));
  CHECK(identity["version"] == 2);
  identity.erase("uuid");
  identity["version"] = 1;
  write_file_durably(path, identity.dump());
  for (int i = 0; i < 2; ++i) {
    installation.holm_ok({"start", "box"});
    stop_box(installation);
  }
  CHECK(usage(installation)["rows"].size() == 1);
}

TEST_CASE(
    "usage is shown by period, as a table, as comma-separated values, and in the time that is asked for") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  CHECK(split(installation.holm_ok({"usage"}), '\n').size() == 3);  // titles and totals
  installation.start("box", kIdle);
  stop_box(installation);
  const std::string table = installation.holm_ok({"usage", "--by", "hour"});
  CHECK(table.starts_with("NAME   STATE    PERIOD "));
  CHECK(table.find("\nbox    stopped  2") != std::string::npos);
  CHECK(table.find("\ntotal ") != std::string::npos);
  const auto lines = split(installation.holm_ok({"usage", "--csv", "--since", "1h"}), '\n');
  REQUIRE(lines.size() == 3);
  CHECK(lines[0].starts_with("name,uuid,state,begin,end,uptime_ns,cpu_ns,"));
  CHECK(split(lines[0], ',').size() == split(lines[1], ',').size());
  CHECK(lines[1].starts_with("box,"));
  CHECK(split(installation.holm_ok({"usage", "--csv", "--until", "yesterday"}), '\n').size() == 2);
  for (const auto& [words, message] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--since", "noon"}, "'noon' of --since is no time\n  hint: it may be a month 2026-11, a day"},
           {{"--by", "week"}, "'week' of --by is no period\n  hint: hour, day or month"},
           {{"--since", "today", "--until", "yesterday"}, "'--until' is not after '--since'"},
           {{"--csv", "--json"}, "exclude each other"}}) {
    std::vector<std::string> all = {"usage"};
    all.insert(all.end(), words.begin(), words.end());
    const Result result = installation.holm(all);
    CHECK(result.status == 2);
    CHECK_MESSAGE(result.errors.find(message) != std::string::npos, result.errors);
  }
  CHECK(installation.holm({"account", "sample", "--every", "0"}).status == 2);
  CHECK(installation.holm({"account", "sample", "none"}).status == 1);
}
