// What a container sees and cannot see, and what its root can do to the host: nothing.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/support/inside.h"

using namespace holm;
using namespace holm::test;

namespace {

constexpr const char* kIdle = "command = [\"/bin/sleep\", \"1000\"]\n";

struct IdRange {
  uint64_t first = 0, count = 0;
};

IdRange ids_of(const Installation& installation, const std::string& name) {
  const auto facts = nlohmann::json::parse(installation.holm_ok({"--json", "inspect", name}));
  return {facts["ids"]["first"], facts["ids"]["count"]};
}

std::string host_file(const std::string& path) {
  std::string text;
  ignore_errors(
      [&] { text = read_file_if_exists(path).value_or("(none)"); });  // not readable: nothing to compare
  return text;
}

// The value of a line "KEY:\tVALUE" of /proc/PID/status.
std::string status_of(const std::string& status, const std::string& key) {
  for (const std::string& line : split(status, '\n'))
    if (line.starts_with(key + ":")) return std::string(trim(std::string_view(line).substr(key.size() + 1)));
  return "(no " + key + ")";
}

}  // namespace

TEST_CASE("a container sees its own processes only, and its init is process 1") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle);
  installation.start("neighbour", "command = [\"/bin/sleep\", \"4242\"]\n");
  const std::string pids = answer(installation, "box", "cd /proc; for p in [0-9]*; do echo $p; done");
  CHECK(split(pids, '\n').size() == 2);  // init and this shell
  CHECK(split(pids, '\n').front() == "1");
  CHECK(answer(installation, "box", "tr '\\0' ' ' < /proc/1/cmdline") == "/bin/sleep 1000");
  CHECK(answer(installation, "box", "cat /proc/[0-9]*/cmdline").find("4242") == std::string::npos);

  const std::string neighbour = std::to_string(installation.pid_of("neighbour"));
  CHECK(inside(installation, "box", "kill -9 " + neighbour).errors.find("No such process") !=
        std::string::npos);
  CHECK(inside(installation, "box", "ls /proc/" + neighbour).status != 0);
  CHECK(installation.column("neighbour", "state") == "running");
}

TEST_CASE("a container has namespaces of its own of every kind") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle);
  const std::string init = fmt::format("/proc/{}/ns/", installation.pid_of("box"));
  for (const std::string kind : {"user", "mnt", "pid", "uts", "ipc", "net", "cgroup", "time"}) {
    CAPTURE(kind);
    if (!sys::exists("/proc/self/ns/" + kind)) continue;  // an older kernel
    const std::string own = sys::read_link(init + kind);
    CHECK(own != sys::read_link("/proc/self/ns/" + kind));
    CHECK(answer(installation, "box", "readlink /proc/self/ns/" + kind) == own);  // exec joins it
  }
}

TEST_CASE("the container's root is an ordinary user of the host") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle);
  const IdRange ids = ids_of(installation, "box");
  CHECK(ids.first >= 65536);
  CHECK(ids.count == 65536);
  for (const std::string map : {"uid_map", "gid_map"}) {
    const auto words = split_words(read_file(fmt::format("/proc/{}/{}", installation.pid_of("box"), map)));
    CHECK(words == std::vector<std::string>{"0", std::to_string(ids.first), "65536"});
  }
  CHECK(answer(installation, "box", "id -u; id -g; id -G") == "0\n0\n0");
  inside(installation, "box", "echo x > /root/file; echo x > /tmp/other; chown 1234:65535 /tmp/other");
  const std::string upper = installation.state_directory() + "/containers/box/upper";
  const auto file = sys::stat_path(upper + "/root/file"), other = sys::stat_path(upper + "/tmp/other");
  REQUIRE(file);
  REQUIRE(other);
  CHECK(file->st_uid == ids.first);
  CHECK(file->st_gid == ids.first);
  CHECK(other->st_uid == ids.first + 1234);
  CHECK(other->st_gid == ids.first + 65535);
}

TEST_CASE("no two containers share an id") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  std::vector<IdRange> all;
  for (int i = 0; i < 5; ++i) {
    const std::string name = fmt::format("box{}", i);
    installation.holm_ok({"create", installation.write_config(name, kIdle)});
    all.push_back(ids_of(installation, name));
    if (i == 2) installation.holm_ok({"destroy", "box1"});  // a range that comes back must not be halved
  }
  all.erase(all.begin() + 1);
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t j = i + 1; j < all.size(); ++j)
      CHECK((all[i].first + all[i].count <= all[j].first || all[j].first + all[j].count <= all[i].first));
}

TEST_CASE("a container's host name is its own") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  char before[256] = {}, after[256] = {};
  ::gethostname(before, sizeof before);
  installation.start("box", std::string(kIdle) + "hostname = \"web.example.net\"\n");
  CHECK(answer(installation, "box", "hostname") == "web.example.net");
  CHECK(answer(installation, "box", "hostname evil; hostname") == "evil");
  ::gethostname(after, sizeof after);
  CHECK(std::string(before) == after);
}

TEST_CASE("files of the host and of other containers are not there") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle);
  installation.start("neighbour", kIdle);
  inside(installation, "neighbour", "echo secret > /neighbours-file");
  CHECK(inside(installation, "box", "cat /neighbours-file").status != 0);
  CHECK(inside(installation, "box", "ls " + installation.directory()).status != 0);
  // Neither up and out, nor through a directory that was left open.
  CHECK(answer(installation, "box", "cd /; cd ../../../..; pwd; ls -a") ==
        answer(installation, "box", "echo /; ls -a /"));
  CHECK(answer(installation, "box", "ls -a /proc/1/root/") == answer(installation, "box", "ls -a /"));
  // The template is shared by all; what one writes no other sees.
  inside(installation, "box", "echo broken > /bin/busybox-was-here; rm /bin/ls");
  CHECK(inside(installation, "neighbour", "ls /bin/ls").status == 0);
  CHECK(sys::exists(installation.state_directory() + "/templates/busybox/root/bin/ls"));
}

TEST_CASE("a payload starts with nothing of the host: descriptors, environment, directory") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::map<std::string, std::string> secret = {{"HOLM_TEST_SECRET", "4242"}};
  const std::string config =
      installation.write_config("box",
                                "command = [\"/bin/sh\", \"-c\", \"echo /proc/self/fd/*; env | sort; pwd; "
                                "readlink /proc/self/cwd\"]\n");
  // The shell opens one more, the directory that it lists.
  const std::string expected =
      "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n"
      "HOME=/root\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/"
      "\nSHLVL=1\nTERM=linux\n"
      "USER=root\ncontainer=holm\n/\n/\n";
  CHECK(installation.holm({"run", "--rm", config}, secret).out == expected);
  installation.start("box", kIdle);
  CHECK(installation
            .holm({"exec", "box", "/bin/sh", "-c",
                   "echo /proc/self/fd/*; env | sort; pwd; readlink /proc/self/cwd"},
                  secret)
            .out == expected);
  const std::string started = host_file(fmt::format("/proc/{}/environ", installation.pid_of("box")));
  CHECK(started.find("HOLM_") == std::string::npos);
  CHECK(list_directory(fmt::format("/proc/{}/fd", installation.pid_of("box"))).size() == 3);
}

TEST_CASE("a working directory that leads through an inherited descriptor is refused") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle);
  for (int number = 3; number < 16; ++number) {
    CAPTURE(number);
    const Result result =
        installation.holm({"exec", "-w", fmt::format("/proc/self/fd/{}", number), "box", "pwd"});
    CHECK(result.status == 125);
    CHECK(result.errors.find("working directory") != std::string::npos);
  }
  inside(installation, "box", "ln -s /proc/self/fd/5 /link; ln -s / /root-link");
  CHECK(installation.holm({"exec", "-w", "/link", "box", "pwd"}).status == 125);
  CHECK(installation.holm({"exec", "-w", "/root-link", "box", "pwd"}).out == "/\n");
  CHECK(installation.holm({"exec", "-w", "/tmp", "box", "pwd"}).out == "/tmp\n");
}

TEST_CASE("capabilities are the documented ones, for start and exec, and none is inherited") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("command", kIdle);
  installation.start("whole", "init = \"/sbin/init\"\n");
  // linux/capability.h: all 41 but linux_immutable, sys_module, sys_rawio, sys_pacct, sys_time,
  // audit_control, mac_override, mac_admin, syslog, wake_alarm, block_suspend, audit_read, perfmon, bpf,
  // checkpoint_restore.
  uint64_t wanted = (uint64_t{1} << 41) - 1;
  for (const int withheld : {9, 16, 17, 20, 25, 30, 32, 33, 34, 35, 36, 37, 38, 39, 40})
    wanted &= ~(uint64_t{1} << withheld);
  const std::string set = fmt::format("{:016x}", wanted), none(16, '0');
  for (const std::string name : {"command", "whole"}) {
    for (const std::string process : {"1", "self"}) {
      CAPTURE(name);
      CAPTURE(process);
      const std::string status = inside(installation, name, "cat /proc/" + process + "/status").out;
      CHECK(status_of(status, "CapBnd") == set);
      CHECK(status_of(status, "CapPrm") == set);
      CHECK(status_of(status, "CapEff") == set);
      CHECK(status_of(status, "CapInh") == none);
      CHECK(status_of(status, "CapAmb") == none);
      CHECK(status_of(status, "Seccomp") == "2");
      CHECK(status_of(status, "NoNewPrivs") == (name == "command" ? "1" : "0"));
    }
    const std::string user = installation.holm({"exec", "-u", "1000", name, "cat", "/proc/self/status"}).out;
    CHECK(status_of(user, "CapEff") == none);
    CHECK(status_of(user, "CapPrm") == none);
    CHECK(status_of(user, "CapInh") == none);
    CHECK(status_of(user, "CapAmb") == none);
    CHECK(status_of(user, "CapBnd") == set);
    CHECK(split_words(status_of(user, "Uid")) == std::vector<std::string>(4, "1000"));
    CHECK(status_of(user, "Groups") == "1000");
  }
}

TEST_CASE("without a user namespace only a server's capabilities are left") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", std::string(kIdle) + "[security]\nuser_namespace = false\n");
  // chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod
  // audit_write setfcap
  uint64_t wanted = 0;
  for (const int given : {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}) wanted |= uint64_t{1} << given;
  for (const std::string process : {"1", "self"}) {
    const std::string status = inside(installation, "box", "cat /proc/" + process + "/status").out;
    CHECK(status_of(status, "CapBnd") == fmt::format("{:016x}", wanted));
    CHECK(status_of(status, "CapInh") == std::string(16, '0'));
    CHECK(status_of(status, "Seccomp") == "2");
  }
  // Here the masks are all that protects the host's files: they cannot be taken away.
  CHECK(inside(installation, "box", "umount /proc/sys").status != 0);
  CHECK(inside(installation, "box", "mount -o remount,bind,rw /sys").status != 0);
  CHECK(inside(installation, "box", "echo x > /proc/sys/kernel/core_pattern").errors.find("Read-only") !=
        std::string::npos);
}

TEST_CASE("oddities of whoever starts Holm do not reach the payload: signals, file mode mask, capabilities") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("setpriv", run_host({"setpriv", "--version"}).status == 0);
  Installation installation;
  const std::string odd =
      "umask 077; trap '' HUP INT QUIT TERM PIPE USR1; exec setpriv --inh-caps=+net_raw,+chown "
      "--ambient-caps=+net_raw,+chown \"$@\"";
  const auto oddly = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"sh", "-c", odd, "sh", holm_program()});
    return run_host(words, installation.environment());
  };
  const std::string once =
      installation.write_config("once", "command = [\"/bin/cat\", \"/proc/self/status\"]\n");
  CHECK(oddly({"start", installation.write_config("box", kIdle)}).status == 0);
  for (const std::string& answered :
       {oddly({"run", "--rm", once}).out, oddly({"exec", "box", "/bin/cat", "/proc/self/status"}).out,
        inside(installation, "box", "cat /proc/1/status").out}) {
    CAPTURE(answered);
    CHECK(status_of(answered, "Umask") == "0022");
    for (const std::string key : {"SigIgn", "SigBlk", "CapInh", "CapAmb"}) {
      CAPTURE(key);
      CHECK(status_of(answered, key) == std::string(16, '0'));
    }
  }
}
