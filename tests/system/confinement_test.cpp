// What the root of a container tries against the host, with each power that it has: mounts, refused calls,
// links of /proc, tracing.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/support/inside.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;

namespace {

constexpr const char* kIdle = "command = [\"/bin/sleep\", \"1000\"]\n";
constexpr const char* kWithoutUserNamespace = "[security]\nuser_namespace = false\n";

// What the kernel of the host is told by these files, the container must not change. Those that cannot be
// read are written to with what does no harm should it get through.
constexpr const char* kHostFiles[] = {
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/fs/file-max",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/printk",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/fs/binfmt_misc/register",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/ksm/run",
    "/sys/power/state",
    "/sys/module/kernel/parameters/panic",
};

std::string host_file(const std::string& path) {
  std::string text;
  ignore_errors(
      [&] { text = read_file_if_exists(path).value_or("(none)"); });  // not readable: nothing to compare
  return text;
}

// Files of the container's own groups, as the host sees them.
std::vector<std::string> group_files(const Installation& installation, const std::string& name) {
  std::vector<std::string> files;
  const std::string pid = std::to_string(installation.pid_of(name));
  for (const std::string& line : split(read_file("/proc/" + pid + "/cgroup"), '\n')) {
    const auto words = split(line, ':');
    if (words.size() != 3) continue;
    const std::string where = words[1].empty()                ? "unified"
                              : words[1].starts_with("name=") ? words[1].substr(5)
                                                              : words[1];
    for (const std::string file :
         {"memory.limit_in_bytes", "memory.max", "pids.max", "cpu.max", "cpu.cfs_quota_us", "devices.allow",
          "cpuset.cpus", "freezer.state", "notify_on_release", "cgroup.freeze"})
      for (const std::string& hierarchy : {"/" + where, std::string()})
        if (const std::string path = "/sys/fs/cgroup" + hierarchy + words[2] + "/" + file; sys::exists(path))
          files.push_back(path);
  }
  return files;
}

std::map<std::string, std::string> contents(const std::vector<std::string>& files) {
  std::map<std::string, std::string> all;
  for (const std::string& file : files) all[file] = host_file(file);
  return all;
}

std::string checksum(const std::string& path) {
  return run_host({"sha256sum", path}).out + run_host({"stat", "-c", "%a %u:%g %s %y %h", path}).out;
}

}  // namespace

TEST_CASE("kernel settings of the host cannot be written, also after mounts were taken away or made anew") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", std::string(kIdle) + "[memory]\nlimit = \"64M\"\n[pids]\nlimit = 100\n");
  std::vector<std::string> files(std::begin(kHostFiles), std::end(kHostFiles));
  const auto groups = group_files(installation, "box");
  CHECK(groups.size() >= 4);
  files.insert(files.end(), groups.begin(), groups.end());
  const auto before = contents(files);

  std::string attack = "for f in";
  for (const char* file : kHostFiles) attack += std::string(" ") + file;
  attack += "; do [ -e $f ] && (echo 1 > $f) 2>/dev/null && echo wrote $f; done; ";
  attack +=
      "for f in /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/devices.allow "
      "/sys/fs/cgroup/*/*.limit_in_bytes "
      "/sys/fs/cgroup/*/pids.max /sys/fs/cgroup/*/cpu.cfs_quota_us /sys/fs/cgroup/*/freezer.state "
      "/sys/fs/cgroup/*/cgroup.freeze /sys/fs/cgroup/*.max /sys/fs/cgroup/cgroup.freeze "
      "/sys/fs/cgroup/cgroup.kill /sys/fs/cgroup/memory.* /sys/fs/cgroup/cpu.* /sys/fs/cgroup/cpuset.*; do [ "
      "-e $f ] && (echo 1 > $f) 2>/dev/null && "
      "echo wrote $f; "
      "done; true";
  CHECK(inside(installation, "box", attack).out == "");
  // With mounts of its own making: root in a user namespace may mount, but the files still belong to the
  // host's root.
  const std::string anew =
      "mkdir -p /p /s /c; mount -t proc proc /p; mount -t sysfs sysfs /s; "
      "for m in /proc/sys /proc/bus /proc/irq /proc/fs /sys; do umount -l $m; mount -o remount,bind,rw $m; "
      "done 2>/dev/null; "
      "for f in /p/sys/kernel/core_pattern /p/sys/vm/overcommit_memory /p/sysrq-trigger "
      "/s/kernel/uevent_helper "
      "/s/power/state; do [ -e $f ] && (echo 1 > $f) 2>/dev/null && echo wrote $f; done; ";
  CHECK(inside(installation, "box", anew + attack).out == "");
  for (const std::string controller : {"memory", "pids", "cpu", "devices", "freezer", "cpuset", "rdma"}) {
    CAPTURE(controller);
    const std::string groups_anew = "umount -l /sys/fs/cgroup; mkdir -p /c; mount -t cgroup -o " +
                                    controller + " none /c 2>/dev/null || exit 0; " +
                                    "for f in /c/*; do (echo 1 > $f) 2>/dev/null && echo wrote $f; done; "
                                    "mkdir /c/x 2>/dev/null && echo made; umount /c";
    CHECK(inside(installation, "box", groups_anew).out == "");
  }
  CHECK(contents(files) == before);
  CHECK(inside(installation, "box", "mount -t cgroup2 none /c && echo 1 > /c/cgroup.freeze").status != 0);
  CHECK(installation.column("box", "state") == "running");
}

TEST_CASE("a group of the container's own making runs no program of its choice on the host") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle);
  // CVE-2022-0492: release_agent of the hierarchy's top, reached from a new user and cgroup namespace.
  const std::string script =
      "unshare -U -r -m -C sh -c 'mkdir -p /r; for h in rdma memory pids misc net_cls; do mount -t cgroup -o "
      "$h c /r "
      "2>/dev/null || continue; ls /r/release_agent 2>/dev/null && (echo /evil > /r/release_agent) && echo "
      "wrote; umount "
      "/r; done'; for f in /sys/fs/cgroup/*/release_agent; do (echo /evil > $f) 2>/dev/null && echo wrote "
      "$f; done";
  const Result result = inside(installation, "box", script);
  CHECK(result.out.find("wrote") == std::string::npos);
}

TEST_CASE("what tells about the host or reaches its hardware is masked") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  for (const std::string security : {"", kWithoutUserNamespace}) {
    CAPTURE(security);
    installation.start("box", std::string(kIdle) + security);
    // /dev/null, or not in this kernel
    const std::string files =
        "for f in /proc/kcore /proc/keys /proc/key-users /proc/timer_list /proc/interrupts /proc/sched_debug "
        "/proc/latency_stats /proc/timer_stats; do [ -e $f ] || continue; [ \"$(stat -c %t:%T $f)\" = 1:3 ] "
        "|| "
        "echo $f; head -c 9 $f; done";
    CHECK(answer(installation, "box", files) == "");
    const std::string directories =
        "for d in /proc/acpi /proc/scsi /proc/asound /sys/firmware /sys/kernel/security /sys/kernel/debug "
        "/sys/kernel/tracing /sys/devices/virtual/powercap; do ls -A $d 2>/dev/null; done";
    CHECK(answer(installation, "box", directories) == "");
    const std::string writable =
        "for p in /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger /sys; do "
        "awk -v p=$p '$5 == p && $6 ~ /^rw/' /proc/self/mountinfo; done";
    CHECK(answer(installation, "box", writable) == "");
    // Kernel addresses, the kernel's log and other physical memory.
    CHECK(answer(installation, "box", "head -n 2000 /proc/kallsyms | awk '$1 !~ /^0+$/'") == "");
    CHECK(answer(installation, "box", "dmesg 2>/dev/null; head -c 1 /proc/kmsg 2>/dev/null") == "");
    // What belongs to its own namespaces stays writable.
    if (security.empty())
      CHECK(inside(installation, "box", "echo 1 > /proc/sys/net/ipv4/ip_forward").status == 0);
    installation.holm_ok({"destroy", "--force", "box"});
  }
}

TEST_CASE("the number of mounts is what the documents say, and none comes from the host") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kIdle);
  const std::string table = inside(installation, "box", "cat /proc/self/mountinfo").out;
  for (const std::string& line : split(trim(table), '\n')) {
    CAPTURE(line);
    const auto words = split_words(line);
    const std::string& point = words[4];
    const bool expected =
        point == "/" || point.starts_with("/proc") || point.starts_with("/sys") || point.starts_with("/dev");
    CHECK(expected);
    CHECK(line.find(" shared:") == std::string::npos);
    CHECK(line.find(" master:") == std::string::npos);  // nothing that the host mounts comes in later
  }
  CHECK(split(trim(table), '\n').size() < 70);
  const std::string source = installation.directory() + "/late";
  const HostMount late({"-t", "tmpfs", "late"}, source);
  CHECK(inside(installation, "box", "cat /proc/self/mountinfo").out == table);
}

TEST_CASE("what the host mounts later below a directory that a container has does not come in") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string source = installation.directory() + "/shared";
  sys::make_directory(source, 0755);
  // Of the same file system: a tmpfs can be id-mapped only since Linux 6.3.
  const HostMount shared({"--bind", source, "--make-shared"}, source);
  sys::make_directory(source + "/late", 0755);
  installation.start("box", std::string(kIdle) + mount_entry(source, "/shared"));
  const HostMount late({"-t", "tmpfs", "late"}, source + "/late");
  replace_file(source + "/late/secret", "of the host\n", 0644);
  CHECK(answer(installation, "box", "ls /shared") == "late");
  CHECK(answer(installation, "box", "ls /shared/late") == "");
  CHECK(answer(installation, "box", "grep -c -e shared: -e master: /proc/self/mountinfo || true") == "0");
}

TEST_CASE("system calls that reach the host are refused, for start, exec, and 32-bit programs") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  for (const std::string security : {"", kWithoutUserNamespace}) {
    CAPTURE(security);
    const std::string config =
        installation.write_config("calls", "command = [\"/probe\", \"calls\"]\n" + with_probe() + security);
    installation.start("box", std::string(kIdle) + with_probe() + security);
    const std::string started = installation.holm({"run", "--rm", config}).out;
    const std::string executed = installation.holm({"exec", "box", "/probe", "calls"}).out;
    for (const std::string& answers : {started, executed}) {
      const auto lines = split(trim(answers), '\n');
      CHECK(lines.size() > 25);
      for (const std::string& line : lines) {
        CAPTURE(line);
        std::string wanted = "EPERM";
        if (line.starts_with("socket ")) wanted = "EAFNOSUPPORT";
        if (line.starts_with("memfd_secret") || line.starts_with("a call of the future") ||
            line.find("x32") != std::string::npos)
          wanted = "ENOSYS";
        if (line.starts_with("setns")) wanted = "EINVAL";
        if (line.find("32-bit") != std::string::npos && line.ends_with("ENOSYS"))
          wanted = "ENOSYS";  // no such programs here
        CHECK(line.substr(line.find('=') + 1) == wanted);
      }
    }
    installation.holm_ok({"destroy", "--force", "box"});
  }
}

TEST_CASE("Holm's own program cannot be rewritten through /proc/self/exe (CVE-2019-5736)") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("the false loader, which is for x86_64", sys::exists(built_program("fake_loader")));
  Installation installation;
  const std::string program = run_host({"readlink", "-f", holm_program()}).out;
  const std::string path(trim(program));
  const std::string before = checksum(path);
  REQUIRE(before.size() > 64);
  const std::string script = installation.directory() + "/script";
  replace_file(script, "#!/proc/self/exe\n", 0755);
  for (const std::string security : {"", kWithoutUserNamespace}) {
    const std::string mounts = with_probe() +
                               mount_entry(built_program("fake_loader"), "/lib64/ld-linux-x86-64.so.2") +
                               mount_entry(script, "/script") + security;
    installation.start("box", std::string(kIdle) + mounts);
    std::vector<std::string> answers;
    for (const std::string command : {"/proc/self/exe", "/script"}) {
      const std::string config =
          installation.write_config("attack", "command = [\"" + command + "\"]\n" + mounts);
      answers.push_back(installation.holm({"run", "--rm", config}).out);
      answers.push_back(installation.holm({"exec", "box", command}).out);
    }
    for (const std::string& answered : answers) {
      CAPTURE(answered);
      CHECK(split(trim(answered), '\n').size() == 7);  // it ran as Holm and tried
      CHECK(answered.find("=done") == std::string::npos);
      CHECK(answered.find("change mode") != std::string::npos);
      CHECK(answered.find("EROFS") != std::string::npos);
    }
    installation.holm_ok({"destroy", "--force", "box"});
  }
  CHECK(checksum(path) == before);
}

TEST_CASE(
    "a process that joins a container cannot be traced or read from inside until it executes "
    "(CVE-2016-8649)") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", std::string(kIdle) + with_probe());
  const std::string watched = installation.directory() + "/watched";
  const pid_t watcher = installation.holm_background(
      {"exec", "box", "/bin/sh", "-c", "/probe watch 4 /bin/busybox > /watched.txt"});
  REQUIRE(eventually([&] { return inside(installation, "box", "test -e /watched.txt").status == 0; }));
  for (int i = 0; i < part_of(50); ++i) CHECK(installation.holm({"exec", "box", "/bin/true"}).status == 0);
  int status = -1;
  ::waitpid(watcher, &status, 0);
  CHECK(status == 0);
  const std::string seen = inside(installation, "box", "cat /watched.txt").out;
  CAPTURE(seen);
  CHECK(seen.find("LEAK") == std::string::npos);
  CHECK(seen.find("traced some later") !=
        std::string::npos);  // it did look, and could once they were the payload
}
