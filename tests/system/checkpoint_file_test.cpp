// Checkpoints in one file: all of a container comes back from it, here, as another one, through pipes.
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

namespace {

constexpr const char* kNat = "[[network]]\nmode = \"nat\"\n";

std::string xattr_of(const std::string& path, const char* name) {
  char value[256] = {};
  const ssize_t size = ::lgetxattr(path.c_str(), name, value, sizeof value);
  return size < 0 ? strerrorname_np(errno) : std::string(value, static_cast<size_t>(size));
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
  const std::string ping = fmt::format("ping -c 1 -W {} {} > /dev/null", 2 * patience(), own[0]);
  CHECK(eventually([&] { return inside(installation, "second", ping).status == 0; }));
  // It is a container like any other: it is suspended and goes on, and keeps its addresses.
  suspend_and_go_on(installation, "second");
  CHECK(addresses_of(installation, "second") == others);
  CHECK(serves(others[0]));
  // A third one cannot be the first one's twin.
  const Result twin = installation.holm({"restore", file});
  CHECK(twin.status == 1);
  CHECK_MESSAGE(twin.errors.find("it is running") != std::string::npos, twin.errors);
  CHECK(installation.holm({"restore", file, "--name", "No Name"}).status == 2);
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

TEST_CASE(
    "in another installation a container goes on with its counters, and owes what it used there alone") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation here, there;
  const std::string file = here.directory() + "/box.holm";
  here.start("box",
             shell("i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done; touch /root/done; sleep 1000") +
                 "[pids]\nlimit = 6\n");
  CHECK(eventually([&] { return sys::exists(upper_of(here, "box") + "/root/done"); }, 60s));
  inside(here, "box", "sleep 3 & sleep 3 & sleep 3 & sleep 3 & sleep 3 & sleep 3 & wait");  // too many
  const auto counter = [](const Installation& installation, const std::string& resource,
                          const char* column) -> uint64_t {
    const json all = json::parse(installation.holm_ok({"--json", "counters", "box"}));
    for (const json& one : all[0]["counters"])
      if (one["resource"] == resource) return one[column];
    return 0;
  };
  const uint64_t used = counter(here, "cputime", "held"), refused = counter(here, "numproc", "failcnt");
  CHECK(used > 0);
  CHECK(refused > 0);
  here.holm_ok({"save", "box", file});
  for (int round = 0; round < 2; ++round) {
    there.holm_ok({"restore", file});
    CHECK(counter(there, "cputime", "held") >= used);
    CHECK(counter(there, "cputime", "held") < 2 * used);
    CHECK(counter(there, "numproc", "failcnt") == refused);
    there.holm_ok({"destroy", "--force", "box"});
  }
  there.holm_ok({"restore", file});
  const uint64_t both = counter(there, "cputime", "held");
  there.holm_ok({"save", "box", file});
  here.holm_ok({"restore", file});  // back again, over what stayed
  CHECK(counter(here, "cputime", "held") >= both);
  there.holm_ok({"restore", file, "--name", "copy"});
  const json copy = json::parse(there.holm_ok({"--json", "counters", "copy"}))[0]["counters"];
  for (const json& one : copy)
    if (one["resource"] == "cputime") CHECK(one["held"] < used);
}
