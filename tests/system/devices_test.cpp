// Which devices a container has, and that it gets at no other.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "base/file.h"
#include "tests/support/inside.h"

using namespace holm;
using namespace holm::test;

namespace {

constexpr const char* kIdle = "command = [\"/bin/sleep\", \"1000\"]\n";
constexpr const char* kWithoutUserNamespace = "[security]\nuser_namespace = false\n";

// A block device of the host that stands for its disks; 0 where it has none.
dev_t some_disk() {
  for (const std::string& name : list_directory("/sys/block")) {
    const auto numbers = split(trim(read_file("/sys/block/" + name + "/dev")), ':');
    return makedev(static_cast<unsigned>(parse_unsigned(numbers[0]).value()),
                   static_cast<unsigned>(parse_unsigned(numbers[1]).value()));
  }
  return 0;
}

}  // namespace

TEST_CASE("/dev holds the nodes that programs expect, each what its name says, and no other") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle);
  CHECK(answer(installation, "box", "ls /dev | tr '\\n' ' '") ==
        "console fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero");
  const std::string types = answer(
      installation, "box",
      "cd /dev; for n in full null random tty urandom zero pts/ptmx; do stat -c '%n %F %t:%T' $n; done");
  CHECK(
      types ==
      "full character special file 1:7\nnull character special file 1:3\nrandom character special file 1:8\n"
      "tty character special file 5:0\nurandom character special file 1:9\nzero character special file 1:5\n"
      "pts/ptmx character special file 5:2");
  CHECK(answer(installation, "box", "stat -c %t /dev/console") == "88");  // a pty
  CHECK(answer(installation, "box", "find /dev -type b; find / -xdev -type b -o -xdev -type c") == "");
  CHECK(answer(installation, "box", "ls /dev/pts") == "ptmx");
  CHECK(answer(installation, "box",
               "echo x > /dev/null && head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x > "
               "/dev/full || echo full") == "3\n3\nfull");
  CHECK(answer(installation, "box", "echo x > /dev/shm/file && cat /dev/shm/file") == "x");
  CHECK(installation.holm({"exec", "-t", "box", "tty"}).out == "/dev/pts/0\r\n");
}

TEST_CASE("the container's console is one of its own, and what is written there is in its log") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start(
      "box", "command = [\"/bin/sh\", \"-c\", \"tty; echo to the console > /dev/console; sleep 1000\"]\n");
  CHECK(eventually([&] {
    return installation.holm_ok({"log", "box"}).find("to the console") != std::string::npos;
  }));
  CHECK(installation.holm_ok({"log", "box"}).find("/dev/console") != std::string::npos);
  CHECK(inside(installation, "box", "ls /dev/tty1 /dev/tty0 /dev/ttyS0").out == "");
  CHECK(inside(installation, "box", "ls -l /dev/pts/0 /dev/pts/1").status !=
        0);  // the host's ptys are not there
}

TEST_CASE("no other device can be made or opened, with or without a user namespace") {
  HOLM_REQUIRES("root", have_root());
  const dev_t disk = some_disk();
  Installation installation;
  for (const std::string security : {"", kWithoutUserNamespace}) {
    CAPTURE(security);
    installation.start("box", std::string(kIdle) + security);
    const std::string script = fmt::format(
        "for d in /tmp /dev /dev/shm; do mknod $d/disk b {} {} && echo made; mknod $d/mem c 1 1 && echo "
        "made; mknod $d/kmsg c 1 11 && echo "
        "made; mknod $d/tun c 10 200 && echo made; mknod $d/port c 1 4 && echo made; mknod $d/tty0 c 4 0 && "
        "echo made; done",
        major(disk), minor(disk));
    const Result result = inside(installation, "box", script);
    CHECK(result.out == "");
    CHECK(result.errors.find("Operation not permitted") != std::string::npos);
    installation.holm_ok({"destroy", "--force", "box"});
  }
}

TEST_CASE("a device node that came with a root file system does not open") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string root = installation.directory() + "/root";
  run_host({"cp", "-a", installation.state_directory() + "/templates/busybox/root", root});
  REQUIRE(::mknod((root + "/harmless").c_str(), S_IFCHR | 0666, makedev(1, 5)) == 0);
  REQUIRE(::mknod((root + "/log").c_str(), S_IFCHR | 0666, makedev(1, 11)) == 0);
  for (const std::string security : {"", kWithoutUserNamespace}) {
    CAPTURE(security);
    installation.start("box", std::string(kIdle) + "root = \"" + root + "\"\n" + security);
    for (const std::string node : {"/harmless", "/log"})
      CHECK(inside(installation, "box", "head -c 1 " + node).errors.find("Permission denied") !=
            std::string::npos);
    installation.holm_ok({"destroy", "--force", "box"});
  }
}

TEST_CASE("the allow-list of devices stands in the kernel before the payload runs, and cannot be widened") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("the devices controller of cgroup v1", sys::exists("/sys/fs/cgroup/devices/devices.list"));
  Installation installation;
  installation.start("box", kIdle);
  std::string group;
  for (const std::string& line :
       split(read_file(fmt::format("/proc/{}/cgroup", installation.pid_of("box"))), '\n'))
    if (const auto words = split(line, ':'); words.size() == 3 && words[1] == "devices")
      group = "/sys/fs/cgroup/devices" + words[2];
  auto lines = split(trim(read_file(group + "/devices.list")), '\n');
  std::sort(lines.begin(), lines.end());
  CHECK(lines == std::vector<std::string>{"c 136:* rwm", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
                                          "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm"});
  const std::string script =
      "mkdir /d; mount -t cgroup -o devices none /d; (echo 'a *:* rwm' > /d/devices.allow) && echo wrote; "
      "(echo 'a *:* rwm' > /sys/fs/cgroup/devices/devices.allow) && echo wrote; mkdir /d/x && echo made; "
      "true";
  CHECK(inside(installation, "box", script).out == "");
}
