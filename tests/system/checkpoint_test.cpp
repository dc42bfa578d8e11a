// Containers that are saved and go on: with their processes, files, limits, addresses, connections, clocks
// and console, any number of times.
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

void suspend(const Installation& installation, const std::string& name) {
  installation.holm_ok({"stop", "--checkpoint", name});
  REQUIRE(installation.column(name, "state") == "suspended");
}

void go_on(const Installation& installation, const std::string& name) {
  installation.holm_ok({"start", name});
  REQUIRE(installation.column(name, "state") == "running");
}

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
    std::string environment, command;
    ignore_errors([&] {  // it ended
      environment = read_file("/proc/" + entry + "/environ");
      command = read_file("/proc/" + entry + "/cmdline");
    });
    const bool is_ours =
        environment.find("HOLM_RUN_DIR=" + installation.run_directory()) != std::string::npos;
    processes += is_ours || command.find("criu") != std::string::npos ? 1 : 0;
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

std::string xattr_of(const std::string& path, const char* name) {
  char value[256] = {};
  const ssize_t size = ::lgetxattr(path.c_str(), name, value, sizeof value);
  return size < 0 ? strerrorname_np(errno) : std::string(value, static_cast<size_t>(size));
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

// Each file of the tree as one line: what it is, whose it is, what is in it.
constexpr const char* kDescribe =
    "cd /root/t && find . | sort | while read f; do stat -c '%n %F %a %u:%g %s' $f; "
    "[ -L $f ] && readlink $f; [ -f $f ] && [ ! -L $f ] && md5sum < $f; done; "
    "ls /etc/init.d /etc/profile /home /usr/bin | md5sum; cat /etc/profile /etc/passwd | md5sum";

constexpr const char* kChangeFiles =
    "set -e; mkdir /root/t; cd /root/t; echo content > file; chown 33:34 file; chmod 4751 file; "
    "ln -s ../nowhere link; mkfifo -m 620 fifo; echo one > hard; ln hard link-of-hard; mkdir -m 1777 sticky; "
    "dd if=/dev/zero of=sparse bs=1 count=1 seek=67108863 2>/dev/null; "
    "echo x > 'a name with spaces'; mkdir -p deep/er; touch deep/er/empty; chown -R 1000:1000 deep; "
    "rm /etc/profile; rm -r /etc/init.d; mkdir /etc/init.d; echo mine > /etc/init.d/own; "
    "rm -r /var/www; echo 'me:x:1000:' >> /etc/group; touch -d '2001-02-03 04:05:06' file";

std::string number_of(const Installation& installation, const std::string& name) {
  return installation.column(name, "number");
}

}  // namespace

TEST_CASE("ten generations: it counts on with the same processes, and nothing grows") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const Installation installation;
  installation.start("box", shell("(i=0; while :; do i=$((i+1)); echo $i >> /root/count; sleep 0.02; done) & "
                                  "echo $! > /root/pid; wait") +
                                kNat);
  CHECK(counts_beyond(installation, "box", 3));
  const std::string pid = answer(installation, "box", "cat /root/pid");
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

TEST_CASE("a container comes back from one file, with its files and processes as they were") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  const std::string file = installation.directory() + "/box.holm";
  installation.start("box", counter());
  installation.start("taker", "command = [\"/bin/sleep\", \"1000\"]\n");
  REQUIRE(inside(installation, "box", kChangeFiles).status == 0);
  const std::string root = fmt::format("/proc/{}/root/root/t/", installation.pid_of("box"));
  CHECK(::setxattr((root + "file").c_str(), "user.colour", "green", 5, 0) == 0);
  CHECK(::setxattr((root + "sticky").c_str(), "user.shape", "", 0, 0) == 0);
  const std::string before = answer(installation, "box", kDescribe);
  const std::string config = read_file(installation.state_directory() + "/containers/box/config.toml");
  const Result saved = installation.holm({"save", "box", file});
  CHECK_MESSAGE(saved.status == 0, saved.errors);
  CHECK(saved.errors.starts_with("saved box: "));
  CHECK(installation.column("box", "state") == "stopped");
  CHECK(installation.column("box", "reason") == "saved to a checkpoint");
  const int reached = counted(installation, "box");
  const std::string number = number_of(installation, "box");
  CHECK((sys::stat_path(file)->st_mode & 07777) == 0600);
  installation.holm_ok({"destroy", "box"});
  CHECK(installation.column("box", "state").empty());
  // Its number goes to another one, so that its ids are others when it comes back.
  installation.start("other", "command = [\"/bin/sleep\", \"1000\"]\n");
  CHECK(number_of(installation, "other") == number);

  installation.holm_ok({"restore", file});
  CHECK(number_of(installation, "box") != number);
  CHECK(counts_beyond(installation, "box", reached));
  CHECK(answer(installation, "box", kDescribe) == before);
  CHECK(read_file(installation.state_directory() + "/containers/box/config.toml") == config);
  CHECK(answer(installation, "box", "ls -A /etc/init.d; ls -d /var/www /etc/profile 2>/dev/null; true") ==
        "own");
  CHECK(answer(installation, "box", "[ /root/t/hard -ef /root/t/link-of-hard ] && stat -c %h /root/t/hard") ==
        "2");
  CHECK(answer(installation, "box", "[ $(stat -c %b /root/t/sparse) -lt 100 ] && echo sparse") == "sparse");
  CHECK(answer(installation, "box", "stat -c %Y /root/t/file") ==
        answer(installation, "box", "date -d '2001-02-03 04:05:06' +%s"));
  const std::string again = fmt::format("/proc/{}/root/root/t/", installation.pid_of("box"));
  CHECK(xattr_of(again + "file", "user.colour") == "green");
  CHECK(xattr_of(again + "sticky", "user.shape").empty());
  // All that belongs to it has its new ids.
  const auto first = json::parse(installation.holm_ok({"--json", "inspect", "box"}))["ids"]["first"];
  const auto owner = sys::stat_path(upper_of(installation, "box") + "/root/t/file");
  CHECK(owner->st_uid == first.get<uid_t>() + 33);
  CHECK(owner->st_gid == first.get<gid_t>() + 34);

  CHECK(installation.holm({"restore", file}).errors ==
        "holm: cannot restore container 'box': it is running\n  hint: stop it first: 'holm stop box'\n");
}

TEST_CASE("a file is restored over the container that it was saved from, and over no other") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  const std::string file = installation.directory() + "/box.holm";
  installation.start("box", counter());
  CHECK(counts_beyond(installation, "box", 2));
  REQUIRE(inside(installation, "box", kChangeFiles).status == 0);
  const std::string before = answer(installation, "box", kDescribe);
  installation.holm_ok({"save", "--leave-running", "box", file});
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    const int later = counted(installation, "box");
    CHECK(counts_beyond(installation, "box", later + 60));
    inside(installation, "box", "echo changed > /root/t/file; rm /root/t/hard; echo x > /root/t/new");
    installation.holm_ok({"stop", "-k", "box"});
    installation.holm_ok({"restore", file});
    CHECK(answer(installation, "box", kDescribe) == before);  // what happened since is gone
    // The number in its memory went back with those in its file: none is missing, and none is there twice.
    const auto numbers = split_words(
        answer(installation, "box",
               "cp /root/count /tmp/c; wc -l < /tmp/c; sort -n /tmp/c | uniq | wc -l; tail -n 1 /tmp/c"));
    REQUIRE(numbers.size() == 3);
    CHECK(numbers[0] == numbers[1]);
    CHECK(numbers[0] == numbers[2]);
    CHECK(counts_beyond(installation, "box", 2));
  }
  installation.holm_ok({"destroy", "--force", "box"});
  installation.start("box", "command = [\"/bin/sh\", \"-c\", \"echo precious > /root/own; sleep 1000\"]\n");
  CHECK(eventually([&] { return sys::exists(upper_of(installation, "box") + "/root/own"); }));
  installation.holm_ok({"stop", "-k", "box"});
  CHECK(
      installation.holm({"restore", file}).errors ==
      "holm: cannot restore container 'box': there is another container of that name, which has files of its "
      "own\n  hint: restore it under another name with --name, or destroy that one first\n");
  CHECK(read_file(upper_of(installation, "box") + "/root/own") == "precious\n");
}

TEST_CASE("file capabilities go with the file, also to other ids, and work there") {
  HOLM_REQUIRES("root, CRIU, setcap",
                have_criu() && run_host({"sh", "-c", "command -v setcap nsenter"}).status == 0);
  const Installation installation;
  const std::string file = installation.directory() + "/box.holm";
  installation.start("box", "init = \"/sbin/init\"\n");
  inside(installation, "box", "echo '::once:/bin/sleep 1000' > /etc/inittab");  // no shell on the console
  installation.holm_ok({"reboot", "box"});
  inside(installation, "box", "cp /bin/busybox /usr/local/bin/busybox");
  const Result set =
      run_host({"nsenter", "-U", "-t", std::to_string(installation.pid_of("box")), "setcap", "cap_net_raw+ep",
                fmt::format("/proc/{}/root/usr/local/bin/busybox", installation.pid_of("box"))});
  REQUIRE_MESSAGE(set.status == 0, set.errors);
  const auto effective = [&](const std::string& name) {
    return std::string(trim(installation.holm_ok(
        {"exec", "-u", "www-data", name, "/usr/local/bin/busybox", "grep", "CapEff", "/proc/self/status"})));
  };
  const std::string net_raw = "CapEff:\t0000000000002000";
  REQUIRE(effective("box") == net_raw);
  installation.holm_ok({"save", "--leave-running", "box", file});
  installation.holm_ok({"restore", file, "--name", "copy"});
  CHECK(effective("copy") == net_raw);
  CHECK(effective("box") == net_raw);
  CHECK(number_of(installation, "copy") != number_of(installation, "box"));
}

TEST_CASE("a file restored under another name is a neighbour with addresses of its own") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const Installation installation;
  const std::string file = installation.directory() + "/web.holm";
  installation.start("web",
                     shell("mkdir -p /srv/www; echo page > /srv/www/index.html; httpd -p 80 -h /srv/www; "
                           "i=0; while :; do i=$((i+1)); echo $i >> /root/count; sleep 0.02; done") +
                         kNat);
  const auto own = addresses_of(installation, "web");
  const std::string mac = answer(installation, "web", "cat /sys/class/net/eth0/address");
  const auto serves = [](const std::string& address) {
    return eventually([&] { return http_get(address, 80).ends_with("page\n"); }, 5s);
  };
  for (const std::string& address : own) CHECK(serves(address));
  installation.holm_ok({"save", "--leave-running", "web", file});
  installation.holm_ok({"restore", file, "--name", "second"});
  const auto others = addresses_of(installation, "second");
  REQUIRE(others.size() == own.size());
  for (size_t i = 0; i < own.size(); ++i) {
    CAPTURE(own[i]);
    CHECK(others[i] != own[i]);
    CHECK(serves(own[i]));
    CHECK(serves(others[i]));
  }
  CHECK(answer(installation, "second", "cat /sys/class/net/eth0/address") != mac);
  const std::string links = answer(installation, "second", "ip -o address show dev eth0");
  for (const std::string& address : others) CHECK(links.find(" " + address + "/") != std::string::npos);
  for (const std::string& address : own) CHECK(links.find(" " + address + "/") == std::string::npos);
  const std::string gateways = "ip route | grep ^default; ip -6 route | grep ^default";
  CHECK(answer(installation, "second", gateways) == answer(installation, "web", gateways));
  const int reached = counted(installation, "second");
  CHECK(counts_beyond(installation, "second", reached));
  CHECK(answer(installation, "second", "ping -c 1 -W 2 " + own[0] + " > /dev/null && echo reached") ==
        "reached");
  // It is a container like any other: it is suspended and goes on, and keeps its addresses.
  suspend(installation, "second");
  go_on(installation, "second");
  CHECK(addresses_of(installation, "second") == others);
  CHECK(serves(others[0]));
  // A third one cannot be the first one's twin.
  const Result twin = installation.holm({"restore", file});
  CHECK(twin.status == 1);
  CHECK_MESSAGE(twin.errors.find("it is running") != std::string::npos, twin.errors);
  CHECK(installation.holm({"restore", file, "--name", "No Name"}).status == 2);
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
  suspend(installation, "box");
  go_on(installation, "box");
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
  suspend(installation, "box");
  go_on(installation, "box");
  CHECK(kernel_limits(installation, "box") == changed);
  CHECK(rights_of(installation.pid_of("box")).find("Max open files            222") != std::string::npos);
  // Also while it is away.
  suspend(installation, "box");
  installation.holm_ok({"set", "box", "pids.limit=55"});
  go_on(installation, "box");
  CHECK(kernel_limits(installation, "box")["pids"]["limit"] == 55);
}

TEST_CASE("addresses, MAC and routes stay, servers answer, and connections survive") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const Installation installation;
  installation.start("box", echo_server());
  const auto addresses = addresses_of(installation, "box");
  const std::string look =
      // The kernel goes on looking for whoever may have the link-local address, too ("tentative").
      "cat /sys/class/net/eth0/address; ip -o address show dev eth0 | sed 's/ *valid_lft.*//; s/ "
      "tentative//'; ip route; "
      "ip -6 route show dev eth0 | sort";
  const std::string network = answer(installation, "box", look);
  std::vector<std::unique_ptr<Connection>> connections;
  for (const std::string& address : addresses)
    connections.push_back(std::make_unique<Connection>(address, 7000));
  for (auto& connection : connections) CHECK(connection->echoes("before\n"));

  installation.holm_ok({"checkpoint", "box"});
  for (auto& connection : connections) CHECK(connection->echoes("after one that it ran on from\n"));
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    suspend(installation, "box");
    for (auto& connection : connections) connection->send("while it is away\n");
    std::this_thread::sleep_for(400ms);
    for (auto& connection : connections) CHECK(connection->is_silent());
    go_on(installation, "box");
    for (auto& connection : connections) CHECK(connection->receives("while it is away\n"));
    const std::string much(300'000, 'x');
    for (auto& connection : connections) CHECK(connection->echoes(much));
  }
  CHECK(addresses_of(installation, "box") == addresses);
  CHECK(answer(installation, "box", look) == network);
  for (const std::string& address : addresses) CHECK(Connection(address, 7000).echoes("a new one\n"));
  CHECK(counted(installation, "box") > 0);
}

TEST_CASE("connections survive gc and other containers' starts while theirs is away") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const Installation installation;
  installation.start("box", echo_server());
  const auto addresses = addresses_of(installation, "box");
  Connection connection(addresses[0], 7000);
  CHECK(connection.echoes("before\n"));
  suspend(installation, "box");
  installation.holm_ok({"gc"});
  installation.start("other", std::string("command = [\"/bin/sleep\", \"1000\"]\n") + kNat);
  // Nobody else gets what it will want back.
  CHECK(addresses_of(installation, "other")[0] != addresses[0]);
  connection.send("while it is away\n");
  go_on(installation, "box");
  CHECK(addresses_of(installation, "box") == addresses);
  CHECK(connection.receives("while it is away\n"));
}

TEST_CASE("what it set of its network goes with it") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const Installation installation;
  installation.start("box", counter() + kNat);
  const std::vector<std::pair<std::string, std::string>> settings = {
      {"ipv4/ip_local_port_range", "20000 20100"},
      {"ipv4/ip_forward", "1"},
      {"ipv4/ip_nonlocal_bind", "1"},
      {"ipv4/tcp_keepalive_time", "777"},
      {"ipv4/conf/eth0/rp_filter", "2"}};
  for (const auto& [name, value] : settings)
    inside(installation, "box", fmt::format("echo {} > /proc/sys/net/{}", value, name));
  const auto check = [&](const std::string& container) {
    for (const auto& [name, value] : settings) {
      const auto words = split_words(answer(installation, container, "cat /proc/sys/net/" + name));
      CHECK(fmt::format("{}", fmt::join(words, " ")) == value);
    }
    CHECK(answer(installation, container, "cat /proc/sys/net/ipv6/ip_nonlocal_bind") == "0");
  };
  check("box");
  suspend(installation, "box");
  go_on(installation, "box");
  check("box");
  installation.holm_ok({"clone", "--live", "box", "copy"});
  check("copy");
  check("box");
}

TEST_CASE("clocks inside stand still while it is away, and so does its uptime") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", shell("while :; do read up idle < /proc/uptime; echo $up >> /root/times; "
                                  "sleep 0.02; done"));
  const auto times = [&] {
    std::vector<double> all;
    const std::string text = read_file(upper_of(installation, "box") + "/root/times");
    for (const std::string& line : split(text.substr(0, text.rfind('\n')), '\n'))
      all.push_back(std::stod(line));
    return all;
  };
  const auto uptime = [&] { return std::stod(answer(installation, "box", "cut -d' ' -f1 /proc/uptime")); };
  std::this_thread::sleep_for(200ms);
  const auto started_at = listed(installation, "box")["started_at"].get<int64_t>();
  const auto asked = Clock::now();
  const double before = uptime();
  suspend(installation, "box");
  const size_t seen = times().size();
  std::this_thread::sleep_for(3s);
  go_on(installation, "box");
  CHECK(eventually([&] { return times().size() > seen + 5; }));
  const double jump = uptime() - before;
  const std::chrono::duration<double> all_of_it = Clock::now() - asked;
  CHECK_MESSAGE((jump > 0 && jump < all_of_it.count() - 2.5), "the clock inside went on by ", jump, " s of ",
                all_of_it.count());
  const auto all = times();
  for (size_t i = 1; i < all.size(); ++i) {
    CHECK(all[i] >= all[i - 1]);
    CHECK(all[i] - all[i - 1] < 1.5 * patience());  // while it is being restored they go on
  }
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

TEST_CASE("the older of two checkpoints rolls files and memory back, and both are listed and removed") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", counter());
  CHECK(counts_beyond(installation, "box", 3));
  inside(installation, "box", "echo old > /root/state; touch /root/only-old");
  installation.holm_ok({"checkpoint", "box", "older"});
  const int older = counted(installation, "box");
  CHECK(counts_beyond(installation, "box", older + 20));
  inside(installation, "box", "echo new > /root/state; rm /root/only-old; touch /root/only-new");
  const Result made = installation.holm({"checkpoint", "box"});
  CHECK_MESSAGE(made.status == 0, made.errors);
  CHECK(made.errors.find("frozen for ") != std::string::npos);

  const json list = json::parse(installation.holm_ok({"--json", "checkpoint", "list", "box"}));
  REQUIRE(list.size() == 2);
  for (const json& one : list) {
    CHECK((one["tag"] == "older" || one["tag"] == "latest"));
    CHECK(one["processes"] >= 1);
    CHECK(one["bytes"] > 10000);
  }
  const std::string table = installation.holm_ok({"checkpoint", "list", "box"});
  CHECK(table.starts_with("TAG"));
  CHECK(table.find("\nolder") != std::string::npos);
  const std::string text = installation.holm_ok({"checkpoint", "inspect", "box", "older"});
  CHECK(text.find("container: box\n") != std::string::npos);
  CHECK(text.find("files:     in the checkpoint\n") != std::string::npos);
  CHECK(text.find("/bin/sh -c i=0; while") != std::string::npos);
  const json manifest =
      json::parse(installation.holm_ok({"--json", "checkpoint", "inspect", "box", "older"}));
  CHECK(manifest["name"] == "box");
  CHECK(manifest["format"] == 1);
  CHECK(manifest["processes"][0]["pid"] == 1);
  CHECK(installation.holm_ok({"checkpoint", "inspect", "--config", "box"}) ==
        read_file(installation.state_directory() + "/containers/box/config.toml"));

  CHECK(installation.holm({"restore", "box", "older"}).errors ==
        "holm: cannot restore container 'box': it is running\n  hint: stop it first: 'holm stop box'\n");
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", "box", "older"});
  CHECK(answer(installation, "box", "cat /root/state; ls /root") == "old\ncount\nonly-old\nstate");
  const int back = counted(installation, "box");
  CHECK_MESSAGE((back >= 1 && back < older + 20), back);
  CHECK(counts_beyond(installation, "box", back));
  // It is used as often as one likes; and without a tag it is the last one.
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", "box", "older"});
  CHECK(answer(installation, "box", "cat /root/state") == "old");
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", "box"});
  CHECK(answer(installation, "box", "cat /root/state; ls /root") == "new\ncount\nonly-new\nstate");
  // The tag again takes the place of what had it.
  installation.holm_ok({"checkpoint", "box", "older"});
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", "box", "older"});
  CHECK(answer(installation, "box", "cat /root/state") == "new");

  installation.holm_ok({"checkpoint", "remove", "box", "older"});
  CHECK(json::parse(installation.holm_ok({"--json", "checkpoint", "list", "box"})).size() == 1);
  installation.holm_ok({"stop", "-k", "box"});
  CHECK(installation.holm({"restore", "box", "older"}).errors ==
        "holm: cannot restore container 'box': it has no checkpoint 'older'\n  hint: it has: latest\n");
  installation.holm_ok({"checkpoint", "remove", "box", "latest"});
  CHECK(installation.holm({"restore", "box"}).errors ==
        "holm: cannot restore container 'box': it has no checkpoint 'latest'\n  hint: 'holm checkpoint box' "
        "makes one of a running container\n");
  CHECK(list_directory(installation.state_directory() + "/containers/box/checkpoint").empty());
  // What goes on from a start is not touched by all of this.
  installation.holm_ok({"start", "box"});
  CHECK(answer(installation, "box", "cat /root/state") == "new");
}

TEST_CASE("what is not there or cannot be is refused, with what to do") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", counter());
  const std::string nobody =
      "holm: there is no container 'nobody'\n  hint: 'holm list -a' shows all containers\n";
  const auto says = [&](const std::vector<std::string>& words) {
    const Result result = installation.holm(words);
    CHECK((result.status == 1 || result.status == 2));
    CHECK(result.out.empty());
    return result.errors;
  };
  CHECK(says({"save", "nobody", installation.directory() + "/x"}) == nobody);
  CHECK_FALSE(sys::exists(installation.directory() + "/x"));
  CHECK(says({"restore", "nobody"}) == nobody);
  CHECK(says({"checkpoint", "nobody"}) == nobody);
  CHECK(says({"checkpoint", "list", "nobody"}) == nobody);
  CHECK(says({"checkpoint", "inspect", "nobody"}) == nobody);
  CHECK(says({"checkpoint", "remove", "nobody", "x"}) == nobody);
  CHECK(says({"clone", "--live", "nobody", "copy"}) == nobody);
  CHECK(says({"stop", "--checkpoint", "nobody"}) == nobody);
  CHECK(says({"checkpoint", "inspect", "box", "x"}) ==
        "holm: it has no checkpoint 'x'\n  hint: 'holm checkpoint box' makes one of a running container\n");
  CHECK(says({"checkpoint", "remove", "box", "x"}).starts_with("holm: it has no checkpoint 'x'\n"));
  CHECK(says({"checkpoint", "box", "suspended"}) ==
        "holm: 'suspended' is the tag of 'holm stop --checkpoint'\n  hint: choose another one\n");
  for (const char* tag : {"../x", "a/b", ".", "A B", "-", "x.y", ""}) {
    CAPTURE(tag);
    CHECK(says({"checkpoint", "box", tag}).find("is no tag\n") != std::string::npos);
    CHECK(says({"checkpoint", "remove", "box", tag}).find("is no tag\n") != std::string::npos);
  }
  CHECK(says({"stop", "--checkpoint", "-k", "box"}).find("have no meaning with it") != std::string::npos);
  CHECK(says({"restore", installation.directory() + "/nothing.holm"})
            .find("No such file or directory (ENOENT)") != std::string::npos);
  CHECK(says({"restore", installation.directory()}).find("is no regular file") != std::string::npos);
  run_host({"mkfifo", installation.directory() + "/fifo"});
  CHECK(says({"restore", installation.directory() + "/fifo"}).find("is no regular file") !=
        std::string::npos);
  CHECK(says({"save", "box", "/no/such/directory/x"}).find("No such file or directory") != std::string::npos);
  CHECK(says({"clone", "box", "copy"}).find("'--live' clones a running container") != std::string::npos);
  CHECK(says({"clone", "--live", "box", "box"}).find("a clone needs a name of its own") != std::string::npos);
  CHECK(says({"clone", "--live", "box", "No Name"}) != "");
  CHECK(says({"restore", "box", "--name", "x"}).find("'--name' goes with a file") != std::string::npos);
  const int number = counted(installation, "box");
  CHECK(counts_beyond(installation, "box", number));  // it has noticed nothing
  installation.holm_ok({"stop", "-k", "box"});
  const std::string stopped = "container 'box' is not running";
  CHECK(says({"save", "box", installation.directory() + "/x"}).find(stopped) != std::string::npos);
  CHECK(says({"checkpoint", "box"}).find(stopped) != std::string::npos);
  CHECK(says({"stop", "--checkpoint", "box"}).find(stopped) != std::string::npos);
  CHECK(says({"clone", "--live", "box", "copy"}).find(stopped) != std::string::npos);
  CHECK(installation.column("copy", "state").empty());
  for (const std::string& name : list_directory(installation.directory()))
    CHECK(name.find(".new") == std::string::npos);
}

TEST_CASE("a checkpoint goes through pipes, and a terminal is no place for one") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  const std::string file = installation.directory() + "/piped.holm";
  installation.start("box", counter());
  CHECK(counts_beyond(installation, "box", 3));
  PtyProgram save({holm_program(), "save", "box", "-"}, installation.environment());
  CHECK(save.shows("a checkpoint is nothing for a terminal"));
  CHECK(save.wait() == 2);
  PtyProgram restore({holm_program(), "restore", "-"}, installation.environment());
  CHECK(restore.shows("no checkpoint comes out of a terminal"));
  CHECK(restore.wait() == 2);
  CHECK(installation.column("box", "state") == "running");

  const auto with_shell = [&](const std::string& script) {
    const Result result = run_host({"sh", "-c", script}, installation.environment());
    CHECK_MESSAGE(result.status == 0, result.errors);
    return result;
  };
  const std::string holm = holm_program();
  with_shell(holm + " save box - --leave-running | cat > " + file);
  with_shell("cat " + file + " | " + holm + " restore - --name one");
  CHECK(counts_beyond(installation, "one", counted(installation, "one")));
  with_shell(holm + " save box - | " + holm + " restore - --name two");
  CHECK(installation.column("box", "state") == "stopped");
  CHECK(counts_beyond(installation, "two", counted(installation, "two")));
  with_shell("cat " + file + " | " + holm + " checkpoint inspect - | grep 'container: box'");

  // A reader that goes away: the container runs on.
  const int number = counted(installation, "two");
  const Result cut =
      run_host({"sh", "-c", "{ " + holm + " save two -; echo $? >&2; } | { exec < /dev/null; sleep 2; }"},
               installation.environment());
  CHECK_MESSAGE(cut.errors.find("Broken pipe (EPIPE)") != std::string::npos, cut.errors);
  CHECK_MESSAGE(cut.errors.ends_with("1\n"), cut.errors);
  CHECK(counts_beyond(installation, "two", number));
  const Result half = run_host({"sh", "-c", "head -c 5000 " + file + " | " + holm + " restore - --name half"},
                               installation.environment());
  CHECK(half.status == 1);
  CHECK(installation.column("half", "state").empty());
}

TEST_CASE("a suspended container waits: it is listed so, kept by a rename, and given up only by --fresh") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", "on_crash = \"stop\"\n" + counter());
  CHECK(counts_beyond(installation, "box", 2));
  suspend(installation, "box");
  CHECK(installation.column("box", "reason") == "saved to a checkpoint");
  CHECK(installation.holm_ok({"checkpoint", "list", "box"}).find("in the container's directory") !=
        std::string::npos);
  const Result run = installation.holm({"run", "box"});
  CHECK(run.status == 125);
  CHECK(run.errors ==
        "holm: cannot start container 'box': its processes wait in the checkpoint that it was stopped with\n"
        "  hint: 'holm start box' goes on from there; 'holm start --fresh box' gives them up\n");
  CHECK(installation.holm({"exec", "box", "true"}).status == 125);
  CHECK(installation.holm({"stop", "box"}).status == 1);
  const int number = counted(installation, "box");
  installation.holm_ok({"rename", "box", "other"});
  CHECK(installation.column("other", "state") == "suspended");
  go_on(installation, "other");
  CHECK(counts_beyond(installation, "other", number));
  CHECK(list_directory(installation.state_directory() + "/containers/other/checkpoint").empty());

  // Once used, it is gone: the next start is a new one.
  installation.holm_ok({"stop", "-k", "other"});
  CHECK(installation.column("other", "state") == "stopped");
  installation.holm_ok({"start", "other"});
  CHECK(eventually([&] {
    return read_file(upper_of(installation, "other") + "/root/count").find("\n1\n2\n") != std::string::npos;
  }));

  suspend(installation, "other");
  sys::remove_file(upper_of(installation, "other") + "/root/count");
  installation.holm_ok({"start", "--fresh", "other"});
  CHECK(counts_beyond(installation, "other", 1));
  CHECK(list_directory(installation.state_directory() + "/containers/other/checkpoint").empty());
  suspend(installation, "other");
  installation.holm_ok({"stop", "--all"});
  installation.holm_ok({"destroy", "other"});
  CHECK(installation.column("other", "state").empty());

  installation.start("one", counter());
  installation.start("two", counter());
  installation.holm_ok({"create", installation.write_config("never", counter())});
  installation.holm_ok({"stop", "--checkpoint", "--all"});
  CHECK(installation.column("one", "state") == "suspended");
  CHECK(installation.column("two", "state") == "suspended");
  CHECK(installation.column("never", "state") == "stopped");
  installation.holm_ok({"start", "one", "two"});
  CHECK(counts_beyond(installation, "two", counted(installation, "two")));
}

TEST_CASE("when the host goes down each is saved or stopped, as its config says") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("kept", "on_host_shutdown = \"checkpoint\"\n" + counter());
  installation.start("other", counter());
  // A process group of another pid namespace is what CRIU cannot save.
  installation.start("refused", "on_host_shutdown = \"checkpoint\"\n" + shell("unshare -p -f sleep 1000"));
  installation.holm_ok(
      {"create", installation.write_config("idle", "on_host_shutdown = \"checkpoint\"\n" + counter())});
  CHECK(counts_beyond(installation, "kept", 3));
  CHECK(eventually([&] { return inside(installation, "refused", "pidof sleep").status == 0; }));
  const Result result = installation.holm({"stop", "--host-shutdown", "--timeout", "1s"});
  CHECK_MESSAGE(result.status == 0, result.errors);
  CHECK_MESSAGE(result.errors.find("container 'refused' is stopped instead") != std::string::npos,
                result.errors);
  CHECK(installation.column("kept", "state") == "suspended");
  for (const char* name : {"other", "refused", "idle"})
    CHECK(installation.column(name, "state") == "stopped");
  const int before = counted(installation, "kept");
  go_on(installation, "kept");
  CHECK(counts_beyond(installation, "kept", before));
  CHECK(installation.holm({"stop", "--host-shutdown", "kept"}).status == 2);
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
  CHECK(eventually([&] { return answer(installation, "box", "pidof sleep").size() > 4; }));
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
                         shell("echo start >> /root/starts; trap 'exit 7' USR1; while :; do sleep 0.02; "
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
  suspend(installation, "box");
  go_on(installation, "box");
  CHECK(starts() == 2);
  installation.holm_ok({"kill", "box"});
  CHECK(eventually([&] { return starts() == 3; }));
  // A reboot starts it anew, too.
  suspend(installation, "box");
  go_on(installation, "box");
  installation.holm_ok({"reboot", "-t", "100ms", "box"});
  CHECK(eventually([&] { return starts() == 4; }));
  // So does one from inside; and without a policy it is stopped, with the status.
  installation.start("plain", shell("trap 'exit 42' USR1; while :; do sleep 0.02; done"));
  suspend(installation, "plain");
  go_on(installation, "plain");
  installation.holm_ok({"kill", "-s", "USR1", "plain"});
  CHECK(installation.holm({"wait", "plain"}).status == 42);
  CHECK(installation.column("plain", "reason") == "exited with status 42");
}
