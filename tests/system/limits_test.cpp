// Limits as the kernel keeps them: measured, and read back.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "tests/support/inside.h"
#include "tests/support/median.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kIdle = "command = [\"/bin/sleep\", \"1000\"]\n";
constexpr const char* kBusy = "command = [\"/bin/sh\", \"-c\", \"while :; do :; done\"]\n";

json inspect(const Installation& installation, const std::string& name) {
  return json::parse(installation.holm_ok({"--json", "inspect", name}));
}

// What containers have used, and between which moments that was looked at.
struct Sample {
  std::vector<double> cpu_seconds;
  Clock::time_point before, after;
};

Sample sample(const Installation& installation, const std::vector<std::string>& names) {
  std::vector<std::string> words = {"--json", "list"};
  words.insert(words.end(), names.begin(), names.end());
  Sample taken;
  taken.before = Clock::now();
  const json rows = json::parse(installation.holm_ok(words));
  taken.after = Clock::now();
  for (const json& row : rows) taken.cpu_seconds.push_back(row["cpu_time_ns"].get<double>() / 1e9);
  return taken;
}

// A share is somewhere between these: what the clock showed while a sample was taken is not known.
struct Share {
  double least, most;
};

Share share_of_a_cpu(const Sample& from, const Sample& to) {
  using Seconds = std::chrono::duration<double>;
  const double used = to.cpu_seconds[0] - from.cpu_seconds[0];
  return {used / Seconds(to.after - from.before).count(), used / Seconds(to.before - from.after).count()};
}

// An emulated CPU is off by more: shares_test.cpp.
double tolerance(double elsewhere, double emulated) { return patience() > 1 ? emulated : elsewhere; }

// What else the machine does may spoil one look: where it is off, the median of three counts.
void check_share(double ideal, double off, const std::function<Share()>& look) {
  const double low = ideal * (1 - off), high = ideal * (1 + off);
  std::vector<double> least, most;
  const auto is_near = [&] {
    const Share got = look();
    MESSAGE("got ", got.least * 100, " to ", got.most * 100, " %");
    least.push_back(got.least);
    most.push_back(got.most);
    return got.most > low && got.least < high;
  };
  if (!is_near())
    for (int more = 0; more < 2; ++more) is_near();
  CHECK(median(most) > low);
  CHECK(median(least) < high);
}

// A CPU that there is more than one of may be pinned to; else the only one.
std::string last_cpu() { return std::to_string(::sysconf(_SC_NPROCESSORS_ONLN) - 1); }

}  // namespace

TEST_CASE("a busy loop under a cap of 25 gets a quarter of one CPU") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", std::string(kBusy) + "[cpu]\ncap = 25\n");
  ::usleep(300'000);
  check_share(0.25, tolerance(0.08, 0.24), [&] {
    const Sample from = sample(installation, {"box"});
    std::this_thread::sleep_for(std::chrono::seconds(4));
    return share_of_a_cpu(from, sample(installation, {"box"}));
  });
}

TEST_CASE("weights 256 and 512 share one pinned CPU one to two") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string pin = "pin = \"" + last_cpu() + "\"\n";
  installation.start("light", std::string(kBusy) + "[cpu]\nweight = 256\n" + pin);
  installation.start("heavy", std::string(kBusy) + "[cpu]\nweight = 512\n" + pin);
  ::usleep(300'000);
  const auto used = [&](const Sample& from, const Sample& to, size_t which) {
    return to.cpu_seconds[which] - from.cpu_seconds[which];
  };
  // Of what both get: a ratio of 1.9 to 2.1.
  check_share(1.0 / 3, tolerance(0.032, 0.15), [&] {
    const Sample from = sample(installation, {"light", "heavy"});
    std::this_thread::sleep_for(std::chrono::seconds(5));
    const Sample to = sample(installation, {"light", "heavy"});
    const double light = used(from, to, 0), share = light / (light + used(from, to, 1));
    return Share{share, share};
  });
}

TEST_CASE("an allocation beyond memory.limit ends the container with the reason, and no one else notices") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("neighbour", std::string(kIdle) + "[memory]\nlimit = \"32M\"\n");
  const pid_t neighbour = installation.pid_of("neighbour");
  // tail keeps all of a line that never ends.
  installation.start(
      "box", "command = [\"/usr/bin/tail\", \"/dev/zero\"]\n[memory]\nlimit = \"64M\"\nswap = \"0\"\n");
  REQUIRE(
      eventually([&] { return installation.column("box", "state") == "stopped"; }, std::chrono::seconds(20)));
  CHECK(installation.column("box", "reason") == "killed: out of memory at 64 MiB; raise memory.limit");
  CHECK(installation.holm({"wait", "box"}).status == 137);
  CHECK(inspect(installation, "box")["last_exit"]["out_of_memory"] == true);
  CHECK(installation.pid_of("neighbour") == neighbour);
  CHECK(inspect(installation, "neighbour")["oom_kills"] == 0);
  CHECK(inside(installation, "neighbour", "echo well").out == "well\n");
}

TEST_CASE("what the kernel kills below init is told, too") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box",
                     "command = [\"/bin/sh\", \"-c\", \"tail /dev/zero; sleep 1000\"]\n[memory]\nlimit = "
                     "\"32M\"\nswap = \"0\"\n");
  CHECK(eventually([&] { return inspect(installation, "box")["oom_kills"] == 1; }, std::chrono::seconds(20)));
  CHECK(installation.column("box", "state") == "running");
  CHECK(eventually([&] { return inspect(installation, "box").contains("last_oom_kill"); }));
  CHECK(inspect(installation, "box")["last_oom_kill"]["process"] == "tail");
  CHECK(installation.holm_ok({"log", "--monitor", "box"})
            .find("out of memory: the kernel killed 'tail' (pid ") != std::string::npos);
  CHECK(inspect(installation, "box")["memory_peak_bytes"].get<uint64_t>() <= 32 << 20);
}

TEST_CASE("a fork bomb is held at pids.limit, the rest goes on, and stop ends it in time") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("neighbour", kIdle);
  installation.start("box",
                     "command = [\"/bin/sh\", \"-c\", \"bomb() { bomb | bomb & }; bomb; sleep 1000\"]\n"
                     "[pids]\nlimit = 64\n[cpu]\ncap = 50\n");
  uint64_t most = 0;
  const auto begin = Clock::now();
  const auto lasts = [&](int times) {
    return Clock::now() - begin < times * std::chrono::milliseconds(1500);
  };
  while (lasts(1) || (most < 60 && lasts(patience()))) {
    const json facts = inspect(installation, "box");
    if (facts.contains("pids")) most = std::max(most, facts["pids"].get<uint64_t>());
  }
  CHECK(most <= 64);
  CHECK(most >= 60);
  CHECK(inside(installation, "neighbour", "echo well").out == "well\n");
  const TimedResult list = holm_timed(installation, {"list"});
  CHECK(list.seconds < 2 * patience());
  const TimedResult stop = holm_timed(installation, {"stop", "--timeout", "1", "box"});
  CHECK(stop.status == 0);
  CHECK(stop.seconds < 1 + 2 * patience());
  CHECK(installation.column("box", "state") == "stopped");
}

TEST_CASE("limits are read back from the kernel as they were asked for") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box",
                     std::string(kIdle) +
                         "[cpu]\nweight = 512\ncap = 75\npin = \"0\"\n[memory]\nlimit = \"96M\"\nbarrier = "
                         "\"64M\"\n[pids]\nlimit = 77\n");
  const json limits = inspect(installation, "box")["limits_in_kernel"];
  CHECK(limits["cpu"]["weight"] == 512);
  CHECK(limits["cpu"]["cap_percent"] == 75);
  CHECK(limits["cpu"]["cpus"] == (last_cpu() == "0" ? "" : "0"));  // empty where it is all that there are
  CHECK(limits["memory"]["limit"] == 96 << 20);
  CHECK(limits["memory"]["barrier"] == 64 << 20);
  CHECK(limits["pids"]["limit"] == 77);
  installation.start("free", kIdle);
  const json none = inspect(installation, "free")["limits_in_kernel"];
  CHECK(none["cpu"]["weight"] == 256);
  CHECK(none["cpu"]["cap_percent"] == 0);
  CHECK(none["memory"]["limit"].is_null());
  CHECK(none["pids"]["limit"].is_null());
}

TEST_CASE("the CPUs that a container may use are those of pin and count") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("pinned", std::string(kIdle) + "[cpu]\npin = \"" + last_cpu() + "\"\n");
  installation.start("counted", std::string(kIdle) + "[cpu]\ncount = 1\n");
  const std::string script = "grep Cpus_allowed_list /proc/1/status /proc/self/status | cut -f2";
  CHECK(answer(installation, "pinned", script) == last_cpu() + "\n" + last_cpu());
  const auto words = split(answer(installation, "counted", script), '\n');
  CHECK(words.size() == 2);
  CHECK(words[0] == words[1]);
  CHECK(parse_unsigned(words[0]).has_value());  // one number, not a range
}

TEST_CASE("[limits] are those of init and of what is executed later") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box",
                     std::string(kIdle) + "[limits]\nnofile = 300\nnproc = 50\ncore = 0\nstack = \"4M\"\n");
  for (const std::string process : {"1", "self"}) {
    CAPTURE(process);
    const std::string table = inside(installation, "box", "cat /proc/" + process + "/limits").out;
    const auto values = [&](const std::string& name) {
      for (const std::string& line : split(table, '\n'))
        if (line.starts_with(name)) {
          const auto words = split_words(line.substr(name.size()));
          return words[0] + " " + words[1];
        }
      return std::string();
    };
    CHECK(values("Max open files") == "300 300");
    CHECK(values("Max processes") == "50 50");
    CHECK(values("Max core file size") == "0 0");
    CHECK(values("Max stack size") == "4194304 4194304");
  }
}

TEST_CASE("a limit above the host's hard one is refused with what would help, where Holm may not raise it") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("a host without CAP_SYS_RESOURCE", !have_sys_resource());
  rlimit held = {};
  ::getrlimit(RLIMIT_NOFILE, &held);
  HOLM_REQUIRES("a hard limit of open files", held.rlim_max < 1000000000);
  const auto most = parse_unsigned(trim(read_file("/proc/sys/fs/nr_open")));
  Installation installation;
  const std::string wanted = std::to_string(held.rlim_max + 1);
  const Result result =
      installation.holm({"start", installation.write_config(
                                      "box", std::string(kIdle) + "[limits]\nnofile = " + wanted + "\n")});
  CHECK(result.status == 1);
  CHECK(result.errors.starts_with("holm: cannot start container 'box': set resource limit 'nofile' to " +
                                  wanted + ": Operation not permitted (EPERM)\n"));
  CHECK(result.errors.find("step 'set resource limits'") != std::string::npos);
  const std::string hint =
      most && held.rlim_max + 1 > *most
          ? fmt::format("the host's kernel allows at most {}: sysctl fs.nr_open", *most)
          : fmt::format("hint: the host's hard limit is {} and only CAP_SYS_RESOURCE may raise it",
                        held.rlim_max);
  CHECK(result.errors.find(hint) != std::string::npos);
  CHECK(installation.column("box", "state") == "stopped");
}

TEST_CASE("a container's memory in /dev and /dev/shm counts as its own") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", std::string(kIdle) + "[memory]\nlimit = \"32M\"\nswap = \"0\"\n");
  installation.holm({"exec", "box", "/bin/sh", "-c", "head -c 100000000 /dev/zero > /dev/shm/file"});
  const json facts = inspect(installation, "box");
  if (facts.contains("memory_bytes")) {
    CHECK(facts["memory_bytes"].get<uint64_t>() <= 32 << 20);
  } else {  // the kernel chose init
    CHECK(eventually([&] {
      return installation.column("box", "reason") == "killed: out of memory at 32 MiB; raise memory.limit";
    }));
  }
  // Nothing more can be run in there, which is said.
  const Result full = installation.holm({"exec", "box", "/bin/true"});
  if (full.status == 125) {
    // Either the joining process met the limit, or the kernel had killed init for it before.
    eventually([&] { return installation.column("box", "state") != "stopping"; });
    const std::string said = full.errors + installation.column("box", "reason");
    CHECK_MESSAGE(said.find("memory.limit") != std::string::npos, said);
  }
  installation.holm({"stop", "box"});  // or the kernel had to kill init, too
  installation.holm_ok({"start", "box"});
  CHECK(answer(installation, "box", "head -c 1000000 /dev/zero > /dev/file; stat -c %s /dev/file") ==
        "524288");
}
