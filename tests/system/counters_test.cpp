// Counters against what a container was seen to do.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/support/beancounter_reader.h"
#include "tests/support/inside.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;

namespace {

constexpr const char* kIdle = "command = [\"/bin/sleep\", \"1000\"]\n";

using Rows = std::map<std::string, BeancounterRow>;

// The rows of the only container in what `holm counters WORDS...` prints.
Rows counters(const Installation& installation, std::vector<std::string> words) {
  words.insert(words.begin(), "counters");
  const auto table = read_beancounters(installation.holm_ok(words));
  REQUIRE(table.containers.size() <= 1);
  return table.containers.empty() ? Rows() : table.containers.begin()->second;
}

// `/probe hold WORDS` in a container until the end of the scope.
class Held {
 public:
  Held(const Installation& installation, const std::string& name, const std::vector<std::string>& words)
      : installation_(installation), name_(name) {
    std::vector<std::string> command = {"exec", name, "/probe", "hold"};
    command.insert(command.end(), words.begin(), words.end());
    answer(installation, name, "rm -f /tmp/held");
    exec_ = installation.holm_background(command);
    REQUIRE(eventually([&] { return answer(installation, name, "ls /tmp/held 2>/dev/null") == "/tmp/held"; },
                       std::chrono::seconds(20) * patience()));
  }
  ~Held() {
    answer(installation_, name_, "killall -9 probe");
    wait_status(exec_);
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  const Installation& installation_;
  std::string name_;
  pid_t exec_ = 0;
};

// How much more of each is held while the probe holds `words` than while it holds nothing.
std::map<std::string, int64_t> growth(const Installation& installation, const std::string& name,
                                      const std::vector<std::string>& words) {
  Rows before;
  {
    const Held nothing(installation, name, {});
    before = counters(installation, {name, "--disk", "0"});
  }
  const Held held(installation, name, words);
  std::map<std::string, int64_t> more;
  for (const auto& [resource, row] : counters(installation, {name, "--disk", "0"}))
    more[resource] = row.held - before[resource].held;
  return more;
}

// The numbers of eth0 in the container's own /proc/net/dev: received bytes and packets, sent bytes and
// packets.
std::vector<int64_t> traffic_inside(const Installation& installation, const std::string& name) {
  const auto words = split_words(answer(installation, name, "sed -n 's/.*eth0://p' /proc/net/dev"));
  REQUIRE(words.size() == 16);
  return {std::stoll(words[0]), std::stoll(words[1]), std::stoll(words[8]), std::stoll(words[9])};
}

}  // namespace

TEST_CASE("the table of all running containers is OpenVZ's, with Holm's rows behind") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  CHECK(read_beancounters(installation.holm_ok({"counters"})).containers.empty());
  installation.start(
      "one", std::string(kIdle) + "[memory]\nlimit = \"64M\"\nbarrier = \"48M\"\n[pids]\nlimit = 77\n");
  installation.start("two", kIdle);
  const auto table = read_beancounters(installation.holm_ok({"counters"}));
  REQUIRE(table.containers.size() == 2);
  const int64_t number = std::stoll(installation.column("one", "number"));
  REQUIRE(table.containers.count(number) == 1);
  const std::vector<std::string>& order = table.order.at(number);
  CHECK(order[0] == "kmemsize");
  CHECK(order[20] == "swappages");
  CHECK(order[21] == "cputime");
  const Rows& rows = table.containers.at(number);
  const int64_t page = ::sysconf(_SC_PAGESIZE);
  CHECK(rows.at("physpages").limit == (64 << 20) / page);
  CHECK(rows.at("physpages").barrier == (48 << 20) / page);
  CHECK(rows.at("physpages").held > 0);
  CHECK(rows.at("physpages").maxheld > 0);
  CHECK(rows.at("physpages").failcnt == 0);
  CHECK(rows.at("kmemsize").held > 0);
  CHECK(rows.at("privvmpages").held > 0);
  CHECK(rows.at("numproc").held == 1);
  CHECK(rows.at("numproc").limit == 77);
  CHECK(rows.at("numproc").barrier == 77);
  CHECK(rows.at("numpty").limit == 1024);
  CHECK(rows.at("cputime").held > 0);
  CHECK(rows.at("diskspace").held >= 0);
  CHECK(rows.count("diskinodes") == 1);
  CHECK(counters(installation, {"--disk", "0", "two"}).count("diskspace") == 0);
}

TEST_CASE("files, sockets, locks, terminals and signals are counted to the piece") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle + with_probe());
  auto more = growth(installation, "box",
                     {"files=10", "copies=30", "events=5", "tcp=4", "udp=3", "local=2", "netlink=1"});
  CHECK(more["numfile"] == 10 + 5 + 4 + 3 + 2 + 1);
  CHECK(more["numtcpsock"] == 4);
  CHECK(more["numothersock"] == 3 + 2 + 1);
  CHECK(more["numproc"] == 0);
  CHECK(more["numflock"] == 0);

  more = growth(installation, "box", {"posix=3", "ofd=1", "flock=1", "terminals=6", "signals=9"});
  CHECK(more["numflock"] == 5);
  CHECK(more["numpty"] == 6);
  CHECK(more["numsiginfo"] == 9);
  CHECK(more["numfile"] == 3 + 6);

  more = growth(installation, "box", {"pending=2", "datagrams=2"});
  CHECK(more["numtcpsock"] == 2 * 3);  // nobody has a descriptor of the third
  CHECK(more["numothersock"] == 2);
  CHECK(more["numfile"] == 2 * 2 + 2);
  CHECK(more["tcprcvbuf"] >= 2 * 10000);
  CHECK(more["dgramrcvbuf"] >= 2 * 1000);

  more = growth(installation, "box", {"events=7", "processes=20", "local=1"});
  CHECK(more["numproc"] == 20);
  CHECK(more["numfile"] == 7 + 1);  // the children's are the same
}

TEST_CASE("a terminal of 'exec -t' is one of the container's") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle);
  CHECK(counters(installation, {"box"}).at("numpty").held == 0);
  const pid_t exec = installation.holm_background({"exec", "-t", "box", "/bin/sleep", "1000"});
  CHECK(eventually([&] { return counters(installation, {"box"}).at("numpty").held == 1; },
                   std::chrono::seconds(10) * patience()));
  answer(installation, "box", "kill -9 $(pidof -s sleep)");
  ::kill(exec, SIGKILL);
  wait_status(exec);
}

TEST_CASE("what the container put over /dev/pts is not asked") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle);
  answer(installation, "box", "mount -t tmpfs none /dev/pts && touch /dev/pts/1 /dev/pts/2");
  CHECK(counters(installation, {"box"}).at("numpty").held == 0);
  answer(installation, "box",
         "rm -rf /tmp/x; umount /dev/pts; mount -t tmpfs none /dev && mkdir /dev/x && ln -s x /dev/pts");
  CHECK(counters(installation, {"box"}).at("numpty").held == 0);
}

TEST_CASE("more mounts than anybody wants to read hide nothing but the terminals") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kIdle);
  // Each blank is four bytes in mountinfo, of which there may be 16 MiB.
  answer(installation, "box",
         "d=/tmp; n=$(printf '%200s' ''); for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18; do "
         "d=\"$d/$n\"; "
         "done; mkdir -p \"$d\" && i=0 && while [ $i -lt 1250 ]; do mount -t tmpfs none \"$d\" || exit 1; "
         "i=$((i+1)); done");
  const Result shown = installation.holm({"counters", "--disk", "0", "box"});
  CHECK(shown.status == 0);
  CHECK_MESSAGE(shown.errors.find("it has more mounts than could be looked at: numpty is left out") !=
                    std::string::npos,
                shown.errors);
  CHECK(shown.out.find("numproc") != std::string::npos);
}

TEST_CASE("a fork that pids.limit refuses is counted, and -q shows it") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle + with_probe() + "[pids]\nlimit = 20\n");
  CHECK(counters(installation, {"box"}).at("numproc").failcnt == 0);
  CHECK(counters(installation, {"-q", "box"}).empty());
  const Result result = installation.holm({"exec", "box", "/probe", "hold", "processes=100"});
  CHECK(result.out == "process=EAGAIN\n");
  const Rows rows = counters(installation, {"-q", "box"});
  REQUIRE(rows.count("numproc") == 1);
  CHECK(rows.size() == 1);
  CHECK(rows.at("numproc").failcnt >= 1);
  CHECK(rows.at("numproc").limit == 20);
  CHECK(rows.at("numproc").held > 16);
  CHECK(rows.at("numproc").maxheld <= 20);
}

TEST_CASE("memory beyond the limit is refused, which three rows tell, and reclaim is no refusal") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", std::string(kIdle) + "[memory]\nlimit = \"32M\"\nswap = \"0\"\n");
  // More than fits is read through the page cache, which is reclaimed over and over.
  answer(installation, "box", "head -c 50000000 /dev/zero > /var/big; cat /var/big > /dev/null; rm /var/big");
  Rows rows = counters(installation, {"box"});
  CHECK(rows.at("physpages").failcnt == 0);
  CHECK(rows.at("physpages").maxheld > 3 * rows.at("physpages").limit / 4);
  CHECK(rows.at("oomkills").held == 0);
  installation.holm({"exec", "box", "/usr/bin/tail", "/dev/zero"});
  CHECK(eventually([&] { return counters(installation, {"box"}).at("oomkills").held == 1; },
                   std::chrono::seconds(10) * patience()));
  rows = counters(installation, {"-q", "box"});
  CHECK(rows.at("physpages").failcnt >= 1);
  CHECK(rows.at("oomguarpages").failcnt == 1);
  CHECK(rows.at("oomkills").failcnt == 1);
  CHECK(rows.size() == 3);
}

TEST_CASE("CPU time, throttled time and the disk's bytes are counted") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", "command = [\"/bin/sh\", \"-c\", \"while :; do :; done\"]\n[cpu]\ncap = 20\n");
  const Rows before = counters(installation, {"box"});
  ::usleep(1'000'000);
  const Rows after = counters(installation, {"box"});
  CHECK(after.at("cputime").held - before.at("cputime").held > 50'000'000);
  CHECK(after.at("throttledtime").held - before.at("throttledtime").held > 100'000'000);
  answer(installation, "box",
         "head -c 3000000 /dev/zero > /var/file; mkdir -p /var/a/b; ln /var/file /var/a/again; sync");
  const Rows files = counters(installation, {"box"});
  CHECK(files.at("diskspace").held - after.at("diskspace").held >= 3'000'000);
  CHECK(files.at("diskspace").held - after.at("diskspace").held < 3'200'000);
  CHECK(files.at("diskinodes").held - after.at("diskinodes").held >= 3);
}

TEST_CASE("network bytes and packets are the container's own") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("bridge, veth and nftables", have_nat());
  Installation installation;
  installation.start("box", std::string(kIdle) + "[[network]]\nmode = \"nat\"\n");
  const std::string gateway =
      answer(installation, "box", "ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p'");
  answer(installation, "box", "ping -c 3 -s 1000 " + gateway);
  const auto before = traffic_inside(installation, "box");
  const Rows rows = counters(installation, {"box"});
  const auto after = traffic_inside(installation, "box");
  const std::vector<std::string> resources = {"netrx.eth0", "netrxpackets.eth0", "nettx.eth0",
                                              "nettxpackets.eth0"};
  for (size_t i = 0; i < resources.size(); ++i) {
    CAPTURE(resources[i]);
    REQUIRE(rows.count(resources[i]) == 1);
    CHECK(before[i] > 0);
    CHECK(rows.at(resources[i]).held >= before[i]);
    CHECK(rows.at(resources[i]).held <= after[i]);
  }
}

TEST_CASE("firewall rules and sockets are those of the container, not of a host whose network it has") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("bridge, veth and nftables", have_nat());
  HOLM_REQUIRES("nft", run_host({"nft", "--version"}).status == 0);
  Installation installation;
  installation.start("box", kIdle);
  installation.start("other", std::string(kIdle) + "[[network]]\nmode = \"host\"\n");
  const std::string pid = std::to_string(installation.pid_of("box"));
  const Result rules =
      run_host({"nsenter", "-t", pid, "-n", "nft", "-f", "-"}, {},
               "table inet test { chain one { counter; drop; };\n chain two { accept; }; }\n");
  REQUIRE_MESSAGE(rules.status == 0, rules.errors);
  CHECK(counters(installation, {"box"}).at("numiptent").held == 3);
  const Rows other = counters(installation, {"other"});
  CHECK(other.at("numiptent").held == 0);
  CHECK(other.at("numtcpsock").held == 0);
  CHECK(other.at("numothersock").held == 0);
}

TEST_CASE("--since last gives what has happened between two looks") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle + with_probe() + "[pids]\nlimit = 20\n");
  const Result first = installation.holm({"counters", "--since", "last", "box"});
  CHECK(first.status == 0);
  CHECK(first.errors ==
        "holm: warning: container 'box': nothing was kept by an earlier '--since last': all is shown\n");
  installation.holm({"exec", "box", "/probe", "hold", "processes=100"});
  const Rows second = counters(installation, {"--since", "last", "box"});
  CHECK(second.at("numproc").failcnt >= 1);
  CHECK(second.at("cputime").held > 0);
  CHECK(second.at("cputime").held <
        read_beancounters(first.out).containers.begin()->second.at("cputime").held * 100);
  const Rows third = counters(installation, {"--since", "last", "box"});
  CHECK(third.at("numproc").failcnt == 0);
  CHECK(third.at("numproc").held == second.at("numproc").held);
  CHECK(counters(installation, {"--since", "start", "box"}).at("numproc").failcnt ==
        second.at("numproc").failcnt);
}

TEST_CASE("totals, maxheld and failcnt are of the container's whole life, whatever restarts it") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("bridge, veth and nftables", have_nat());
  Installation installation;
  installation.start("box", kIdle + with_probe() + "[[network]]\nmode = \"nat\"\n[pids]\nlimit = 20\n");
  answer(installation, "box", "head -c 20000000 /dev/zero > /dev/shm/big");
  {
    const Held held(installation, "box", {"files=50"});
    REQUIRE(counters(installation, {"box", "--disk", "0"}).at("numfile").held >= 50);
  }
  answer(installation, "box", "rm /dev/shm/big; ping -c 1 -W 1 " + installation.column("box", "address"));
  installation.holm({"exec", "box", "/probe", "hold", "processes=100"});  // they stay
  Rows before = counters(installation, {"box", "--disk", "0"});
  CHECK(before.at("numfile").maxheld >= 50);
  CHECK(before.at("numproc").failcnt > 0);
  const auto is_kept = [&] {
    const Rows now = counters(installation, {"box", "--disk", "0"});
    for (const auto& [resource, row] : before) {
      CAPTURE(resource);
      REQUIRE(now.count(resource) == 1);
      CHECK(now.at(resource).maxheld >= row.maxheld);
      CHECK(now.at(resource).failcnt >= row.failcnt);
    }
    CHECK(now.at("numproc").failcnt == before.at("numproc").failcnt);
    CHECK(now.at("cputime").held > before.at("cputime").held);
    CHECK(now.at("nettx.eth0").held >= before.at("nettx.eth0").held);
    CHECK(now.at("numfile").held < 50);
    before = now;
  };
  SUBCASE("a stop and a start") {
    installation.holm_ok({"stop", "box"});
    installation.holm_ok({"start", "box"});
    is_kept();
  }
  SUBCASE("a reboot, and another, with another name between them") {
    installation.holm_ok({"reboot", "box"});
    is_kept();
    installation.holm_ok({"stop", "box"});
    installation.holm_ok({"rename", "box", "other"});
    installation.holm_ok({"rename", "other", "box"});
    installation.holm_ok({"start", "box"});
    is_kept();
  }
  SUBCASE("a monitor and an init that are killed") {
    ::kill(installation.monitor_of("box"), SIGKILL);
    ::kill(installation.pid_of("box"), SIGKILL);
    CHECK(eventually([&] { return installation.column("box", "state") == "stopped"; },
                     std::chrono::seconds(10) * patience()));
    installation.holm_ok({"start", "box"});
    is_kept();
  }
  // What is asked of this run alone has nothing of the others.
  const Rows run = counters(installation, {"box", "--disk", "0", "--since", "start"});
  CHECK(run.at("numproc").failcnt == 0);
  CHECK(run.at("cputime").held < before.at("cputime").held);
}

TEST_CASE("--json has names, units and null where nothing is limited") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", std::string(kIdle) + "[pids]\nlimit = 20\n");
  const json all = json::parse(installation.holm_ok({"--json", "counters"}));
  REQUIRE(all.size() == 1);
  CHECK(all[0]["name"] == "box");
  CHECK(std::to_string(all[0]["number"].get<int>()) == installation.column("box", "number"));
  for (const json& counter : all[0]["counters"]) {
    if (counter["resource"] == "numproc") CHECK(counter["limit"] == 20);
    if (counter["resource"] == "physpages") CHECK(counter["limit"].is_null());
    if (counter["resource"] == "physpages") CHECK(counter["unit"] == "pages");
  }
}

TEST_CASE("a name that is not running, or none at all, is an error; the others are shown") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.holm_ok({"create", installation.write_config("off", kIdle)});
  installation.start("on", kIdle);
  const Result result = installation.holm({"counters", "off", "on"});
  CHECK(result.status == 1);
  CHECK(result.errors == "holm: container 'off' is not running\n  hint: 'holm start off' starts it\n");
  CHECK(read_beancounters(result.out).containers.size() == 1);
  CHECK(installation.holm({"counters", "nobody"}).errors.starts_with("holm: there is no container 'nobody'"));
  CHECK(installation.holm({"counters", "--since", "ever"}).status == 2);
  CHECK(installation.holm({"counters", "--disk", "much"}).status == 2);
  CHECK(installation.holm({"counters", "-w", "-i", "0"}).status == 2);
}

TEST_CASE("--watch shows it again and again") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle);
  const Result result = run_host({"timeout", "--signal=KILL", std::to_string(2 * patience()), holm_program(),
                                  "counters", "-w", "-i", "100ms", "box"},
                                 installation.environment());
  size_t looks = 0;
  for (size_t at = result.out.find("Version: 2.5\n"); at != std::string::npos; ++looks)
    at = result.out.find("Version: 2.5\n", at + 1);
  CHECK(looks >= 3);
}

TEST_CASE("a container with thousands of processes and open files is counted in seconds") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle + with_probe());
  const int many = 2000 / patience(), crowd = 200 / patience();
  const Held held(installation, "box",
                  {"files=20", fmt::format("processes={}", many), fmt::format("crowd={}", crowd)});
  TimedResult result;
  Rows rows;
  const auto has_all = [&] {  // the crowd opens its files after it is there
    result = holm_timed(installation, {"counters", "--disk", "0", "box"}, "120");
    if (result.status != 0) return false;
    rows = read_beancounters(result.out).containers.begin()->second;
    return rows.at("numfile").held > 100 * crowd + 20;
  };
  REQUIRE(eventually(has_all, std::chrono::seconds(20) * patience()));
  MESSAGE("counted in " << result.seconds << " s");
  CHECK(result.errors == "");
  CHECK(result.seconds < 20 * patience());
  CHECK(rows.at("numproc").held == 2 + many + crowd);
  CHECK(rows.at("numfile").held < 100 * crowd + 30);
}

TEST_CASE("a container that ends and begins all the time never makes it fail") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("steady", kIdle);
  installation.start(
      "box",
      "command = [\"/bin/sh\", \"-c\", \"sleep 0.05\"]\non_crash = \"restart\"\non_reboot = \"restart\"\n");
  for (int i = 0; i < 20; ++i) {
    const pid_t start = installation.holm_background({"start", "box"});
    const Result result = installation.holm({"counters", "--disk", "0"});
    CHECK_MESSAGE(result.status == 0, result.errors);
    const auto table = read_beancounters(result.out);
    CHECK(table.containers.size() >= 1);
    wait_status(start);
  }
}
