// Limits: what the drivers write, read back, warn about and refuse.
#include <doctest/doctest.h>
#include <unistd.h>

#include "tests/unit/quotas/fake_cgroupfs.h"
#include "tests/unit/quotas/message_of.h"

using namespace holm;
using namespace holm::quotas;
using holm::test::FakeCgroupfs;
using holm::test::message_of;
using Kind = CgroupLayout::Kind;

namespace {

std::unique_ptr<Cgroup> created(const FakeCgroupfs& host, uint32_t number = 7) {
  auto cgroup = make_cgroup(host.layout(), "holm", number);
  cgroup->create();
  return cgroup;
}

Limits all_limits() {
  Limits limits;
  limits.cpu = {.weight = 512, .cap_percent = 50, .burst_percent = 20, .count = 2, .pin = {}, .nodes = {1}};
  limits.memory = {Bytes{512 << 20}, Bytes{448 << 20}, Bytes{128 << 20}, Bytes{64 << 20}};
  limits.pids = 512;
  return limits;
}

}  // namespace

TEST_CASE("on v1 all limits are written in its terms, and read back the same") {
  FakeCgroupfs host(Kind::v1);
  const auto cgroup = created(host);
  const auto warnings = cgroup->apply(all_limits());
  CHECK(warnings == std::vector<std::string>{"memory.guarantee has no effect: not on cgroup v1"});
  CHECK(host.read("cpu/holm/7/cpu.shares") == "2048");
  CHECK(host.read("cpu/holm/7/cpu.cfs_quota_us") == "50000");
  CHECK(host.read("cpu/holm/7/cpu.cfs_burst_us") == "20000");
  CHECK(host.read("cpuset/holm/7/cpuset.cpus") == "2-3");
  CHECK(host.read("cpuset/holm/7/cpuset.mems") == "1");
  CHECK(host.read("memory/holm/7/memory.limit_in_bytes") == "536870912");
  CHECK(host.read("memory/holm/7/memory.memsw.limit_in_bytes") == "603979776");
  CHECK(host.read("memory/holm/7/memory.soft_limit_in_bytes") == "469762048");
  CHECK(host.read("pids/holm/7/pids.max") == "512");

  Limits expected = all_limits();
  expected.cpu.count.reset();
  expected.cpu.pin = {2, 3};
  expected.memory.guarantee.reset();
  CHECK(cgroup->read_limits() == expected);
}

TEST_CASE("on v2 all limits are written in its terms, and read back the same") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  CHECK(cgroup->apply(all_limits()).empty());
  CHECK(host.read("unified/holm/7/cpu.weight") == "200");
  CHECK(host.read("unified/holm/7/cpu.max") == "50000 100000");
  CHECK(host.read("unified/holm/7/cpu.max.burst") == "20000");
  CHECK(host.read("unified/holm/7/cpuset.cpus") == "2-3");
  CHECK(host.read("unified/holm/7/cpuset.mems") == "1");
  CHECK(host.read("unified/holm/7/memory.max") == "536870912");
  CHECK(host.read("unified/holm/7/memory.high") == "469762048");
  CHECK(host.read("unified/holm/7/memory.min") == "134217728");
  CHECK(host.read("unified/holm/7/memory.swap.max") == "67108864");
  CHECK(host.read("unified/holm/7/pids.max") == "512");

  Limits expected = all_limits();
  expected.cpu.count.reset();
  expected.cpu.pin = {2, 3};
  CHECK(cgroup->read_limits() == expected);
}

TEST_CASE("on a hybrid host every hierarchy gets a group, co-mounted controllers one") {
  FakeCgroupfs host(Kind::hybrid);
  const auto cgroup = created(host);
  CHECK(cgroup->directories().size() == 9);
  CHECK(cgroup->directories().front() == host.path("cpu/holm/7"));
  CHECK(cgroup->directories().back() == host.path("unified/holm/7"));
  CHECK(cgroup->apply(all_limits()).size() == 1);
  CHECK(host.read("memory/holm/7/memory.limit_in_bytes") == "536870912");
  CHECK(host.read("unified/cgroup.subtree_control") == "\n");
  const CgroupEntry entry = cgroup->open_entry();
  CHECK(entry.v1_tasks.size() == 8);
  CHECK(entry.v2_directory);
}

TEST_CASE("a controller on v2 is used beside v1 ones") {
  FakeCgroupfs host(Kind::hybrid);
  CgroupLayout layout = host.layout();
  std::erase_if(layout.hierarchies,
                [](const auto& h) { return h.controllers == std::vector<std::string>{"pids"}; });
  layout.hierarchies.back().controllers = {"pids"};
  const auto cgroup = make_cgroup(layout, "holm", 7);
  cgroup->create();
  CHECK(host.read("unified/cgroup.subtree_control") == "+pids");
  host.write("unified/holm/7/pids.max", "max\n");
  cgroup->apply(all_limits());
  CHECK(host.read("unified/holm/7/pids.max") == "512");
  CHECK(cgroup->read_limits().pids == 512);
}

TEST_CASE("without limits nothing is written and nothing is warned about") {
  for (const Kind kind : {Kind::v1, Kind::v2, Kind::hybrid}) {
    FakeCgroupfs host(kind);
    const auto cgroup = created(host);
    CHECK(cgroup->apply({}).empty());
    CHECK(cgroup->read_limits() == Limits{});
  }
}

TEST_CASE("applying again without limits takes them away") {
  for (const Kind kind : {Kind::v1, Kind::v2}) {
    FakeCgroupfs host(kind);
    const auto cgroup = created(host);
    cgroup->apply(all_limits());
    cgroup->apply({});
    if (kind == Kind::v2) CHECK(host.read("unified/holm/7/cpu.max") == "max 100000");
    CHECK(cgroup->read_limits() == Limits{});
  }
}

TEST_CASE("the smallest cap is the kernel's smallest quota") {
  Limits limits;
  limits.cpu.cap_percent = 1;
  FakeCgroupfs v1(Kind::v1);
  created(v1)->apply(limits);
  CHECK(v1.read("cpu/holm/7/cpu.cfs_quota_us") == "1000");
}

TEST_CASE("a memory limit that is rounded to pages is accepted") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  Limits limits;
  limits.memory.limit = Bytes{(64 << 20) + 100};
  CHECK(cgroup->apply(limits).empty());
  limits.memory.limit = Bytes{INT64_MAX};  // the kernel says "max"
  CHECK(cgroup->apply(limits).empty());
  CHECK_FALSE(cgroup->read_limits().memory.limit);
}

TEST_CASE("a value that the kernel did not take is an error with file, wanted and found value") {
  struct Case {
    Kind kind;
    std::string file, path, wanted;
  };
  for (const Case& c : {Case{Kind::v2, "cpu.max", "unified", "50000 100000"},
                        {Kind::v2, "memory.max", "unified", "536870912"},
                        {Kind::v2, "cpuset.cpus", "unified", "2-3"},
                        {Kind::v2, "pids.max", "unified", "512"},
                        {Kind::v1, "cpu.shares", "cpu", "2048"},
                        {Kind::v1, "memory.limit_in_bytes", "memory", "536870912"}}) {
    FakeCgroupfs host(c.kind);
    host.ignore_writes_to(c.file);
    const auto cgroup = created(host);
    CHECK(message_of([&] { cgroup->apply(all_limits()); }) == "write '" + c.wanted + "' to '" +
                                                                  host.path(c.path + "/holm/7/" + c.file) +
                                                                  "': the kernel holds ''");
  }
}

TEST_CASE("a setting that the kernel does not have is an error with a hint") {
  FakeCgroupfs host(Kind::v2);
  host.without_file("cpu.max");
  const auto cgroup = created(host);
  CHECK(message_of([&] { cgroup->apply(all_limits()); }) == "write '50000 100000' to '" +
                                                                host.path("unified/holm/7/cpu.max") +
                                                                "': No such file or directory (ENOENT)");
  cgroup->apply({});  // no cap asked for, none needed
}

TEST_CASE("a limit whose controller the host lacks is an error that names the key") {
  FakeCgroupfs host(Kind::v1);
  host.without_controller("cpuset");
  host.without_controller("pids");
  const auto cgroup = created(host);
  CHECK(cgroup->apply({}).empty());
  Limits limits;
  limits.cpu.pin = {0};
  CHECK(message_of([&] { cgroup->apply(limits); }) ==
        "set cpu.pin: this host has no cgroup controller 'cpuset'");
  limits = {};
  limits.pids = 5;
  CHECK(message_of([&] { cgroup->apply(limits); }) ==
        "set pids.limit: this host has no cgroup controller 'pids'");
}

TEST_CASE("swap that the host does not account is a warning") {
  FakeCgroupfs v1(Kind::v1);
  v1.without_file("memory.memsw.limit_in_bytes");
  Limits limits;
  limits.memory.limit = Bytes{64 << 20};
  limits.memory.swap = Bytes{0};
  auto warnings = created(v1)->apply(limits);
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].starts_with("memory.swap has no effect: this host does not account swap"));
  CHECK(v1.read("memory/holm/7/memory.limit_in_bytes") == "67108864");

  FakeCgroupfs v2(Kind::v2);
  v2.without_file("memory.swap.max");
  warnings = created(v2)->apply(limits);
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].starts_with("memory.swap has no effect"));
}

TEST_CASE("weights that v2 cannot have are held and warned about") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  Limits limits;
  limits.cpu.weight = 65536;
  CHECK(cgroup->apply(limits) ==
        std::vector<std::string>{"cpu.weight 65536 acts as 25600: cgroup v2 knows no more"});
  CHECK(host.read("unified/holm/7/cpu.weight") == "10000");
  limits.cpu.weight = 1;
  CHECK(cgroup->apply(limits) == std::vector<std::string>{"cpu.weight 1 acts as 3: cgroup v2 knows no less"});
}

TEST_CASE("on v2 a limit below what is held is refused and says what is held") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  cgroup->apply(all_limits());
  host.write("unified/holm/7/memory.current", "104857600\n");
  Limits limits = all_limits();
  limits.memory = {Bytes{64 << 20}, std::nullopt, std::nullopt, std::nullopt};
  CHECK(message_of([&] { cgroup->apply(limits); }) ==
        "set memory.limit to 64 MiB: the container holds 100 MiB");
  CHECK(host.read("unified/holm/7/memory.max") == "536870912");
  CHECK(host.read("unified/holm/7/memory.high") == "469762048");
}

TEST_CASE("on v2 the parent protects the sum of its containers' guarantees") {
  FakeCgroupfs host(Kind::v2);
  Limits limits;
  limits.memory.guarantee = Bytes{16 << 20};
  const auto first = created(host, 1);
  const auto second = created(host, 2);
  first->apply(limits);
  second->apply(limits);
  CHECK(host.read("unified/holm/memory.min") == "33554432");
  first->remove();
  CHECK(host.read("unified/holm/memory.min") == "16777216");
}

TEST_CASE("on v1 limit and swap are lowered and raised in an order that the kernel takes") {
  FakeCgroupfs host(Kind::v1);
  const auto cgroup = created(host);
  const std::string swap_file = "memory/holm/7/memory.memsw.limit_in_bytes";
  Limits limits;
  limits.memory.limit = Bytes{96 << 20};
  limits.memory.swap = Bytes{0};
  cgroup->apply(limits);
  CHECK(host.read(swap_file) == "100663296");
  // Without the file for the limit, that write fails: what was written before it shows the order.
  ::unlink(host.path("memory/holm/7/memory.limit_in_bytes").c_str());
  const auto apply = [&] { cgroup->apply(limits); };
  limits.memory.limit = Bytes{64 << 20};
  CHECK(message_of(apply).find("/memory.limit_in_bytes'") != std::string::npos);
  CHECK(host.read(swap_file) == "100663296");
  limits.memory.limit = Bytes{128 << 20};
  CHECK(message_of(apply).find("/memory.limit_in_bytes'") != std::string::npos);
  CHECK(host.read(swap_file) == "134217728");
}

TEST_CASE("a kernel that cannot save up CPU time is warned about by name") {
  for (const Kind kind : {Kind::v1, Kind::v2}) {
    FakeCgroupfs host(kind);
    host.without_file(kind == Kind::v1 ? "cpu.cfs_burst_us" : "cpu.max.burst");
    const auto cgroup = created(host);
    Limits limits;
    limits.cpu.cap_percent = 50;
    limits.cpu.burst_percent = 20;
    CHECK(cgroup->apply(limits) ==
          std::vector<std::string>{
              "cpu.burst has no effect: this kernel cannot save up CPU time (Linux 5.14 can)"});
    CHECK(cgroup->read_limits().cpu.burst_percent == 0);
  }
}

TEST_CASE("what a running container had is taken away again: burst, nodes, CPUs, cap") {
  for (const Kind kind : {Kind::v1, Kind::v2}) {
    FakeCgroupfs host(kind);
    created(host)->apply(all_limits());
    const auto cgroup = make_cgroup(host.layout(), "holm", 7);  // as a later command has it
    cgroup->apply(Limits{});
    CHECK(cgroup->read_limits() == Limits{});
  }
}
