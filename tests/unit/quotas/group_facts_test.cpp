// Which control file a counter comes from, on each version.
#include <doctest/doctest.h>

#include "quotas/facts.h"
#include "tests/unit/quotas/fake_cgroupfs.h"

using namespace holm;
using namespace holm::quotas;
using holm::test::FakeCgroupfs;
using Kind = CgroupLayout::Kind;

namespace {

std::unique_ptr<Cgroup> created(const FakeCgroupfs& host) {
  auto cgroup = make_cgroup(host.layout(), "holm", 7);
  cgroup->create();
  return cgroup;
}

Facts facts_of(const Cgroup& cgroup) {
  Facts facts;
  cgroup.look(Cgroup::Depth::all, facts);
  return facts;
}

}  // namespace

TEST_CASE("v2's files") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  const std::string group = "unified/holm/7/";
  host.write(group + "memory.current", "1000000\n");
  host.write(group + "memory.peak", "2000000\n");
  host.write(group + "memory.max", "4194304\n");
  host.write(group + "memory.high", "max\n");
  host.write(group + "memory.stat",
             "anon 1\nkernel 777\nkernel_stack 16\nshmem 4096\nunevictable 8192\nslab_reclaimable 99\n");
  host.write(group + "memory.events", "low 0\nhigh 5\nmax 100\noom 3\noom_kill 2\n");
  host.write(group + "memory.swap.current", "512\n");
  host.write(group + "memory.swap.peak", "1024\n");
  host.write(group + "memory.swap.events", "high 0\nmax 4\nfail 9\n");
  host.write(group + "pids.current", "5\n");
  host.write(group + "pids.peak", "12\n");
  host.write(group + "pids.max", "64\n");
  host.write(group + "pids.events", "max 6\n");
  host.write(group + "cpu.stat", "usage_usec 10\nnr_periods 3\nnr_throttled 2\nthrottled_usec 7\n");
  host.write(
      group + "io.stat",
      "8:0 rbytes=100 wbytes=200 rios=3 wios=4 dbytes=9 dios=9\n8:16 rbytes=1 wbytes=2 rios=1 wios=1\n");
  const Facts facts = facts_of(*cgroup);
  CHECK(facts.memory == 1000000);
  CHECK(facts.memory_peak == 2000000);
  CHECK(facts.memory_limit == 4194304);
  CHECK_FALSE(facts.memory_barrier);
  CHECK(facts.memory_guarantee == 0);
  CHECK(facts.memory_refused == 3);  // `oom`, not `max`
  CHECK(facts.oom_kills == 2);
  CHECK(facts.kernel_memory == 777);
  CHECK_FALSE(facts.kernel_memory_peak);
  CHECK(facts.shared_memory == 4096);
  CHECK(facts.unevictable == 8192);
  CHECK(facts.reclaimable_slab == 99);
  CHECK(facts.swap == 512);
  CHECK(facts.swap_peak == 1024);
  CHECK(facts.swap_refused == 4);
  CHECK(facts.memory_and_swap == 1000512);
  CHECK(facts.processes == 5);
  CHECK(facts.processes_peak == 12);
  CHECK(facts.processes_limit == 64);
  CHECK(facts.processes_refused == 6);
  CHECK(facts.cpu_time == 10'000);
  CHECK(facts.throttled_time == 7'000);
  CHECK(facts.read_bytes == 101);
  CHECK(facts.write_bytes == 202);
  CHECK(facts.reads == 4);
  CHECK(facts.writes == 5);
}

TEST_CASE("v1's files") {
  FakeCgroupfs host(Kind::v1);
  const auto cgroup = created(host);
  host.write("memory/holm/7/memory.usage_in_bytes", "1000000\n");
  host.write("memory/holm/7/memory.max_usage_in_bytes", "2000000\n");
  host.write("memory/holm/7/memory.failcnt", "1000\n");
  host.write("memory/holm/7/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
  host.write("memory/holm/7/memory.stat",
             "shmem 1\nunevictable 1\nswap 1\ntotal_shmem 4096\ntotal_unevictable 8192\ntotal_swap 512\n");
  host.write("memory/holm/7/memory.kmem.usage_in_bytes", "777\n");
  host.write("memory/holm/7/memory.kmem.max_usage_in_bytes", "888\n");
  host.write("memory/holm/7/memory.memsw.usage_in_bytes", "1000600\n");
  host.write("memory/holm/7/memory.memsw.max_usage_in_bytes", "3000000\n");
  host.write("pids/holm/7/pids.current", "5\n");
  host.write("pids/holm/7/pids.peak", "12\n");
  host.write("pids/holm/7/pids.events", "max 6\n");
  host.write("cpu/holm/7/cpu.stat", "nr_periods 3\nnr_throttled 2\nthrottled_time 7000\n");
  host.write("blkio/holm/7/blkio.throttle.io_service_bytes", "8:0 Read 1\nTotal 1\n");
  host.write("blkio/holm/7/blkio.throttle.io_service_bytes_recursive",
             "8:0 Read 100\n8:0 Write 200\n8:0 Sync 300\n8:0 Total 300\n8:16 Read 1\nTotal 301\n");
  host.write("blkio/holm/7/blkio.throttle.io_serviced_recursive", "8:0 Read 3\n8:0 Write 4\nTotal 7\n");
  const Facts facts = facts_of(*cgroup);
  CHECK(facts.memory == 1000000);
  CHECK(facts.memory_peak == 2000000);
  CHECK(facts.memory_refused == 2);  // the kills, not memory.failcnt, which counts reclaim
  CHECK(facts.kernel_memory == 777);
  CHECK(facts.kernel_memory_peak == 888);
  CHECK(facts.shared_memory == 4096);
  CHECK(facts.unevictable == 8192);
  CHECK_FALSE(facts.reclaimable_slab);
  CHECK(facts.swap == 512);
  CHECK_FALSE(facts.swap_refused);
  CHECK(facts.memory_and_swap == 1000600);
  CHECK(facts.memory_and_swap_peak == 3000000);
  CHECK(facts.processes_peak == 12);
  CHECK(facts.processes_refused == 6);
  CHECK(facts.throttled_time == 7'000);
  CHECK(facts.read_bytes == 101);
  CHECK(facts.write_bytes == 200);
  CHECK(facts.reads == 3);
  CHECK(facts.writes == 4);
}

TEST_CASE("on older kernels of v2 refused forks are the sum of those in all nested groups") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  const std::string group = "unified/holm/7/";
  host.write(group + "pids.events", "max 1\n");
  ::mkdir(host.path(group + "inner").c_str(), 0755);
  ::mkdir(host.path(group + "inner/deeper").c_str(), 0755);
  host.write(group + "inner/deeper/pids.events", "max 10\n");
  CHECK(facts_of(*cgroup).processes_refused == 11);
  // Linux 6.11 and later: the nested groups' are in the sum already.
  host.write(group + "pids.events.local", "max 0\n");
  CHECK(facts_of(*cgroup).processes_refused == 1);
}

TEST_CASE("what a host lacks is not known, and no error") {
  for (const Kind kind : {Kind::v1, Kind::v2}) {
    FakeCgroupfs host(kind);
    const auto cgroup = created(host);
    const Facts facts = facts_of(*cgroup);
    CHECK_FALSE(facts.kernel_memory);
    CHECK_FALSE(facts.processes_peak);
    CHECK_FALSE(facts.throttled_time);
    CHECK(facts.memory == 0);
  }
}
