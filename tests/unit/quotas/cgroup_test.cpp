// Groups and their processes: made, entered, frozen, killed, removed.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "base/sys.h"
#include "tests/unit/quotas/fake_cgroupfs.h"
#include "tests/unit/quotas/message_of.h"

using namespace holm;
using namespace holm::quotas;
using namespace std::chrono_literals;
using holm::test::FakeCgroupfs;
using holm::test::message_of;
using Kind = CgroupLayout::Kind;

namespace {

std::unique_ptr<Cgroup> created(const FakeCgroupfs& host, uint32_t number = 7) {
  auto cgroup = make_cgroup(host.layout(), "holm", number);
  cgroup->create();
  return cgroup;
}

}  // namespace

TEST_CASE("on v2 the controllers are enabled from the root down, those only that it has") {
  FakeCgroupfs host(Kind::v2);
  host.write("unified/cgroup.subtree_control", "cpu memory\n");
  created(host);
  CHECK(host.read("unified/cgroup.subtree_control") == "+pids +io +cpuset");
  CHECK(host.read("unified/holm/cgroup.subtree_control") == "+cpu +memory +pids +io +cpuset");
  CHECK(host.read("unified/holm/7/cgroup.subtree_control") == "\n");
}

TEST_CASE("on v1 parent and group get the CPUs and memory nodes without which nothing can join") {
  FakeCgroupfs host(Kind::v1);
  created(host);
  CHECK(host.read("cpuset/holm/cpuset.cpus") == "0-3");
  CHECK(host.read("cpuset/holm/7/cpuset.cpus") == "0-3");
  CHECK(host.read("cpuset/holm/7/cpuset.mems") == "0-1");
  CHECK(host.read("systemd/holm/7/notify_on_release") == "0\n");
}

TEST_CASE("on v1 devices are denied first, and the list is read back") {
  FakeCgroupfs host(Kind::hybrid);
  const auto cgroup = created(host);
  const std::vector<DeviceRule> rules = {{'c', 1, 3, "rwm"}, {'c', 136, std::nullopt, "rw"}};
  host.write("devices/holm/7/devices.list", "c 136:* rw\nc 1:3 rwm\n");
  cgroup->restrict_devices(rules);
  CHECK(host.read("devices/holm/7/devices.deny") == "a");
  CHECK(host.read("devices/holm/7/devices.allow") == "c 1:3 rwm\nc 136:* rw\n");

  host.write("devices/holm/7/devices.list", "a *:* rwm\n");
  CHECK(message_of([&] { cgroup->restrict_devices(rules); }) ==
        "write the device allow-list: '" + host.path("devices/holm/7/devices.list") + "' holds 'a *:* rwm'");
}

TEST_CASE("a host that cannot restrict devices is refused") {
  FakeCgroupfs host(Kind::v1);
  host.without_controller("devices");
  const auto cgroup = created(host);
  CHECK(message_of([&] {
          cgroup->restrict_devices(default_device_rules());
        }).starts_with("restrict the container's devices: this host has neither"));
}

TEST_CASE("a group that holds processes is not taken over, and nothing is left of the attempt") {
  FakeCgroupfs host(Kind::v1);
  created(host);
  host.write("pids/holm/7/cgroup.procs", "4242\n");
  const auto second = make_cgroup(host.layout(), "holm", 7);
  CHECK(message_of([&] { second->create(); }) ==
        "make cgroup '" + host.path("pids/holm/7") + "': File exists (EEXIST)");
  CHECK_FALSE(sys::exists(host.path("cpu/holm/7")));
  CHECK(sys::exists(host.path("pids/holm/7")));
}

TEST_CASE("empty groups of an earlier container are made anew") {
  FakeCgroupfs host(Kind::v2);
  Limits limits;
  limits.memory.limit = Bytes{64 << 20};
  created(host)->apply(limits);
  ::mkdir(host.path("unified/holm/7/init.scope").c_str(), 0755);
  const auto cgroup = created(host);
  CHECK(cgroup->read_limits() == Limits{});
  CHECK_FALSE(sys::exists(host.path("unified/holm/7/init.scope")));
}

TEST_CASE("processes are counted in nested groups too") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  ::mkdir(host.path("unified/holm/7/a").c_str(), 0755);
  ::mkdir(host.path("unified/holm/7/a/b").c_str(), 0755);
  ::mkdir(host.path("unified/holm/7/c").c_str(), 0755);
  host.write("unified/holm/7/cgroup.procs", "12\n11\n");
  host.write("unified/holm/7/a/b/cgroup.procs", "300\n");
  host.write("unified/holm/7/c/cgroup.procs", "20\n0\n");  // 0: outside of our pid namespace
  CHECK(cgroup->processes() == std::vector<pid_t>{11, 12, 20, 300});
}

TEST_CASE("remove takes nested groups away, follows no link and names what is busy") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  std::string nested = host.path("unified/holm/7");
  for (int depth = 0; depth < 40; ++depth) {
    nested += "/d";
    ::mkdir(nested.c_str(), 0755);
    ::mkdir((nested + "w").c_str(), 0755);
  }
  ::mkdir(host.path("elsewhere").c_str(), 0755);
  REQUIRE(::symlink(host.path("elsewhere").c_str(), host.path("unified/holm/7/link").c_str()) == 0);
  host.write("unified/holm/7/d/dw/cgroup.procs", "9\n");
  CHECK(message_of([&] { cgroup->remove(); }) ==
        "remove cgroup '" + host.path("unified/holm/7") +
            "' with 1 process in it: Device or resource busy (EBUSY)");
  host.write("unified/holm/7/d/dw/cgroup.procs", "");
  cgroup->remove();
  CHECK_FALSE(cgroup->exists());
  CHECK(sys::exists(host.path("elsewhere")));
  cgroup->remove();  // nothing to do
}

TEST_CASE("numbers are found in any hierarchy, and only empty parents are removed") {
  FakeCgroupfs host(Kind::hybrid);
  const auto first = created(host, 3);
  const auto second = created(host, 12);
  ::rmdir(host.path("cpu/holm/12").c_str());
  CHECK(cgroup_numbers(host.layout(), "holm") == std::vector<uint32_t>{3, 12});
  CHECK(cgroup_numbers(host.layout(), "holm-1a2b").empty());
  first->remove();
  remove_empty_parents(host.layout(), "holm");
  CHECK_FALSE(sys::exists(host.path("cpu/holm")));
  CHECK(second->exists());
  second->remove();
  remove_empty_parents(host.layout(), "holm");
  CHECK_FALSE(sys::exists(host.path("unified/holm")));
}

TEST_CASE("processes enter a nested group where the container's own takes none any more") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  CHECK(sys::read_link("/proc/self/fd/" + std::to_string(cgroup->open_entry().v2_directory.get())) ==
        host.path("unified/holm/7"));
  host.write("unified/holm/7/cgroup.subtree_control", "memory pids\n");
  CHECK(sys::read_link("/proc/self/fd/" + std::to_string(cgroup->open_entry().v2_directory.get())) ==
        host.path("unified/holm/7/holm-exec"));
  // One that nobody has set up.
  const std::string own = fmt::format("unified/holm/7/holm-self.{}", ::getpid());
  cgroup->enter_self();
  CHECK(host.read(own + "/cgroup.procs") == "0");
  CHECK_THROWS_AS(cgroup->enter_self(), Error);
  sys::remove_tree(host.path(own));
  cgroup->enter_self();
  sys::remove_file(host.path(own + "/cgroup.procs"));  // the kernel's goes with its directory
  cgroup->remove_entry_of(::getpid());
  CHECK_FALSE(sys::exists(host.path(own)));
}

TEST_CASE("a process enters every v1 hierarchy and v2") {
  FakeCgroupfs host(Kind::hybrid);
  created(host)->enter_self();
  for (const char* name : {"cpu", "memory", "devices", "systemd"})
    CHECK(host.read(std::string(name) + "/holm/7/tasks") == "0");
  CHECK(host.read("unified/holm/7/cgroup.procs") == "0");
}

TEST_CASE("usage is read from v1 and from v2") {
  FakeCgroupfs v1(Kind::v1);
  const auto on_v1 = created(v1);
  v1.write("cpu/holm/7/cpuacct.usage", "1500\n");
  v1.write("memory/holm/7/memory.usage_in_bytes", "4096\n");
  v1.write("memory/holm/7/memory.max_usage_in_bytes", "8192\n");
  v1.write("memory/holm/7/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
  v1.write("pids/holm/7/pids.current", "3\n");
  Usage usage = on_v1->usage();
  CHECK(usage.cpu_time == 1500ns);
  CHECK(usage.memory == Bytes{4096});
  CHECK(usage.memory_peak == Bytes{8192});
  CHECK(usage.oom_kills == 2);
  CHECK(usage.pids == 3);

  FakeCgroupfs v2(Kind::v2);
  v2.without_file("memory.peak");  // Linux 5.18 and older
  const auto on_v2 = created(v2);
  v2.write("unified/holm/7/cpu.stat", "usage_usec 7\nuser_usec 5\n");
  v2.write("unified/holm/7/memory.current", "4096\n");
  v2.write("unified/holm/7/memory.events", "oom 9\noom_kill 1\noom_group_kill 0\n");
  usage = on_v2->usage();
  CHECK(usage.cpu_time == 7us);
  CHECK(usage.memory == Bytes{4096});
  CHECK_FALSE(usage.memory_peak);
  CHECK(usage.oom_kills == 1);
}

TEST_CASE("what went through disks is read for each of them, and throttled time with the CPU's") {
  FakeCgroupfs v1(Kind::v1);
  const auto on_v1 = created(v1);
  v1.write("cpu/holm/7/cpu.stat", "nr_periods 4\nnr_throttled 2\nthrottled_time 12345\n");
  v1.write("blkio/holm/7/blkio.throttle.io_service_bytes_recursive",
           "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 12288\n8:0 Discard 5\n8:0 Total 12288\n"
           "254:1 Read 1\n254:1 Write 2\nTotal 12291\n");
  v1.write("blkio/holm/7/blkio.throttle.io_serviced_recursive", "8:0 Read 1\n8:0 Write 2\nTotal 3\n");
  Usage usage = on_v1->usage();
  CHECK(usage.throttled_time == 12345ns);
  REQUIRE(usage.io.size() == 2);
  CHECK(usage.io[0].device == "8:0");
  CHECK(usage.io[0].read_bytes == 4096);
  CHECK(usage.io[0].written_bytes == 8192);
  CHECK(usage.io[0].reads == 1);
  CHECK(usage.io[0].writes == 2);
  CHECK(usage.io[1].written_bytes == 2);
  CHECK(usage.life.cpu != 0);
  CHECK(usage.life.io != usage.life.cpu);

  FakeCgroupfs v2(Kind::v2);
  const auto on_v2 = created(v2);
  v2.write("unified/holm/7/cpu.stat", "usage_usec 7\nthrottled_usec 3\n");
  v2.write("unified/holm/7/io.stat", "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=9 dios=9\n254:1 \n");
  usage = on_v2->usage();
  CHECK(usage.throttled_time == 3us);
  REQUIRE(usage.io.size() == 1);
  CHECK(usage.io[0].read_bytes == 4096);
  CHECK(usage.io[0].writes == 2);
  CHECK(usage.life.cpu == usage.life.memory);
}

TEST_CASE("devices that a kernel joins to the next line, or has no number of, are nobody's") {
  FakeCgroupfs v2(Kind::v2);
  const auto cgroup = created(v2);
  v2.write("unified/holm/7/io.stat",
           "7:7 7:6 7:5 rbytes=28672 wbytes=0 rios=7 wios=0 dbytes=0 dios=0\n"
           "(unknown) rbytes=1 wbytes=1 rios=1 wios=1 dbytes=0 dios=0\n");
  const Usage usage = cgroup->usage();
  REQUIRE(usage.io.size() == 1);
  CHECK(usage.io[0].device == "7:5");
  CHECK(usage.io[0].read_bytes == 28672);
}

TEST_CASE("counters that went with their group are not taken from another hierarchy's") {
  FakeCgroupfs host(Kind::hybrid);
  const auto cgroup = created(host);
  host.write("cpu/holm/7/cpuacct.usage", "1500\n");
  host.write("unified/holm/7/cpu.stat", "usage_usec 7\n");
  const uint64_t life = cgroup->usage().life.cpu;
  CHECK(cgroup->usage().cpu_time == 1500ns);
  sys::remove_tree(host.path("cpu/holm/7"));
  CHECK(cgroup->usage().life.cpu == 0);
  CHECK(cgroup->usage().cpu_time == 0ns);
  cgroup->remove();
  cgroup->create();
  CHECK(cgroup->usage().life.cpu != 0);
  CHECK(life != 0);
}

TEST_CASE("freezing waits until the kernel says so, on v2 before v1's freezer") {
  FakeCgroupfs host(Kind::hybrid);
  const auto cgroup = created(host);
  CHECK_FALSE(cgroup->is_frozen());
  CHECK_FALSE(cgroup->is_asked_to_freeze());
  std::jthread kernel([&] {
    while (!cgroup->is_asked_to_freeze()) std::this_thread::sleep_for(1ms);
    CHECK_FALSE(cgroup->is_frozen());
    host.write("unified/holm/7/cgroup.events", "populated 1\nfrozen 1\n");
  });
  cgroup->freeze();
  CHECK(cgroup->is_frozen());
  CHECK(host.read("unified/holm/7/cgroup.freeze") == "1\n");
  CHECK(host.read("freezer/holm/7/freezer.state") == "THAWED\n");
  cgroup->thaw();
  CHECK(host.read("unified/holm/7/cgroup.freeze") == "0\n");
  CHECK_FALSE(cgroup->is_asked_to_freeze());

  FakeCgroupfs v1(Kind::v1);
  const auto on_v1 = created(v1);
  on_v1->freeze();
  CHECK(v1.read("freezer/holm/7/freezer.state") == "FROZEN");
  CHECK(on_v1->is_frozen());
  v1.write("freezer/holm/7/freezer.state", "FREEZING\n");
  CHECK(on_v1->is_asked_to_freeze());
  CHECK_FALSE(on_v1->is_frozen());
  on_v1->thaw();
  CHECK_FALSE(on_v1->is_asked_to_freeze());
}

TEST_CASE("a container whose groups are gone is not frozen, and thawing it is no error") {
  for (const Kind kind : {Kind::v1, Kind::v2, Kind::hybrid}) {
    FakeCgroupfs host(kind);
    const auto cgroup = created(host);
    cgroup->remove();
    REQUIRE_FALSE(cgroup->exists());
    CHECK_FALSE(cgroup->is_frozen());
    cgroup->thaw();
    if (kind == Kind::v2)
      CHECK_THROWS_WITH_AS(cgroup->freeze(), doctest::Contains("its cgroup is gone"), Error);
  }
}

TEST_CASE("where the kernel can kill a whole group, it is asked to, and v1's freezer lets go") {
  FakeCgroupfs host(Kind::hybrid);
  const auto cgroup = created(host);
  host.write("unified/holm/7/cgroup.events", "populated 1\nfrozen 0\n");
  host.write("freezer/holm/7/freezer.state", "FROZEN\n");
  std::jthread kernel([&] {
    while (host.read("unified/holm/7/cgroup.kill") != "1") std::this_thread::sleep_for(1ms);
    host.write("unified/holm/7/cgroup.events", "populated 0\nfrozen 0\n");
  });
  cgroup->kill_all(5s);
  CHECK(host.read("freezer/holm/7/freezer.state") == "THAWED");
}

TEST_CASE("elsewhere every process of the group is signalled until none is left") {
  FakeCgroupfs host(Kind::v1);
  const auto cgroup = created(host);
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  host.write("pids/holm/7/cgroup.procs", std::to_string(child) + "\n");
  int status = 0;
  std::jthread kernel([&] {
    ::waitpid(child, &status, 0);
    host.write("pids/holm/7/cgroup.procs", "");
  });
  cgroup->kill_all(5s);
  kernel.join();
  CHECK(WTERMSIG(status) == SIGKILL);
  CHECK(host.read("freezer/holm/7/freezer.state") == "THAWED");
}

TEST_CASE("processes that do not die in time are told") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  host.write("unified/holm/7/cgroup.events", "populated 1\nfrozen 0\n");
  host.write("unified/holm/7/cgroup.procs", "77\n");
  CHECK(message_of([&] { cgroup->kill_all(20ms); }) == "kill all processes of cgroup '" +
                                                           host.path("unified/holm/7") +
                                                           "': 1 left after 20 ms, the first is 77");
}

TEST_CASE("limit files are never handed to the container") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: needs root for chown");
    return;
  }
  FakeCgroupfs host(Kind::hybrid);
  created(host)->delegate(100000, 100000);
  const auto owner = [&](const std::string& name) { return sys::stat_path(host.path(name))->st_uid; };
  for (const char* name : {"unified/holm/7", "unified/holm/7/cgroup.procs", "unified/holm/7/cgroup.threads",
                           "unified/holm/7/cgroup.subtree_control", "systemd/holm/7", "systemd/holm/7/tasks"})
    CHECK_MESSAGE(owner(name) == 100000, name);
  for (const char* name : {"unified/holm", "unified/holm/7/cgroup.freeze", "systemd/holm/7/notify_on_release",
                           "memory/holm/7", "memory/holm/7/tasks", "memory/holm/7/memory.limit_in_bytes"})
    CHECK_MESSAGE(owner(name) == 0, name);
}

TEST_CASE("an OOM watch is there where the memory controller is") {
  FakeCgroupfs v1(Kind::v1);
  const auto on_v1 = created(v1);
  CHECK(on_v1->watch_oom());
  CHECK(on_v1->oom_poll_events() == POLLIN);
  CHECK(v1.read("memory/holm/7/cgroup.event_control") != "");
  v1.without_controller("memory");
  CHECK_FALSE(created(v1, 8)->watch_oom());
  FakeCgroupfs v2(Kind::v2);
  const auto on_v2 = created(v2);
  CHECK(on_v2->watch_oom());
  CHECK(on_v2->oom_poll_events() == POLLPRI);
}
