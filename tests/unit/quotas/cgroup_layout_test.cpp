#include <doctest/doctest.h>

#include "quotas/cgroup.h"
#include "tests/unit/quotas/fake_cgroupfs.h"

using namespace holm;
using namespace holm::quotas;
using holm::test::FakeCgroupfs;

namespace {

const std::string kV2Line =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const std::string kHybrid =
    "23 1 8:1 / / rw shared:1 - ext4 /dev/root rw\n"
    "31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

bool mentions(const std::vector<std::string>& lines, const std::string& text) {
  for (const std::string& line : lines)
    if (line.find(text) != std::string::npos) return true;
  return false;
}

}  // namespace

TEST_CASE("a v2 host has one hierarchy") {
  const CgroupLayout layout = parse_cgroup_layout(kV2Line, "0::/user.slice/session-1.scope\n");
  CHECK(layout.kind == CgroupLayout::Kind::v2);
  REQUIRE(layout.hierarchies.size() == 1);
  CHECK(layout.hierarchies[0].mount_point == "/sys/fs/cgroup");
  CHECK(layout.hierarchies[0].is_v2);
  CHECK(layout.hierarchies[0].own_group == "/user.slice/session-1.scope");
}

TEST_CASE("a hybrid host has v1 controllers, mounted together or alone, beside v2") {
  const CgroupLayout layout = parse_cgroup_layout(
      kHybrid, "4:memory:/a:b\n2:cpu,cpuacct:/\n1:name=systemd:/init.scope\n0::/init.scope\n");
  CHECK(layout.kind == CgroupLayout::Kind::hybrid);
  REQUIRE(layout.hierarchies.size() == 4);
  REQUIRE(layout.find("cpuacct"));
  CHECK(layout.find("cpuacct") == layout.find("cpu"));
  CHECK(layout.find("cpu")->mount_point == "/sys/fs/cgroup/cpu,cpuacct");
  CHECK(layout.find("memory")->own_group == "/a:b");
  CHECK(layout.find("name=systemd")->mount_point == "/sys/fs/cgroup/systemd");
  CHECK(layout.find("pids") == nullptr);
  CHECK(layout.hierarchies[3].is_v2);
}

TEST_CASE("v1 hierarchies without v2 make a v1 host, and what is not mounted is left out") {
  const CgroupLayout layout = parse_cgroup_layout(
      "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "8:pids:/\n4:memory:/\n0::/\n");
  CHECK(layout.kind == CgroupLayout::Kind::v1);
  CHECK(layout.hierarchies.size() == 1);
}

TEST_CASE("the mount of a whole hierarchy is preferred to that of a part, and escapes are read") {
  const CgroupLayout layout = parse_cgroup_layout(
      "40 1 0:26 /box/7 /srv/part rw - cgroup2 none rw\n50 1 0:26 / /mnt/the\\040whole rw - cgroup2 none "
      "rw\n",
      "0::/box/7/a\n");
  REQUIRE(layout.hierarchies.size() == 1);
  CHECK(layout.hierarchies[0].mount_point == "/mnt/the whole");
  CHECK(layout.hierarchies[0].own_group == "/box/7/a");
}

TEST_CASE("where only a part of a hierarchy is mounted, the own group is counted from there") {
  const std::string mount = "40 1 0:26 /box/7 /sys/fs/cgroup rw - cgroup2 none rw\n";
  CHECK(parse_cgroup_layout(mount, "0::/box/7/a\n").hierarchies[0].own_group == "/a");
  CHECK(parse_cgroup_layout(mount, "0::/box/7\n").hierarchies[0].own_group == "/");
  CHECK(parse_cgroup_layout(mount, "0::/box/77\n").hierarchies[0].own_group == "/box/77");
}

TEST_CASE("mangled texts give no hierarchies") {
  CHECK(parse_cgroup_layout("", "").hierarchies.empty());
  CHECK(parse_cgroup_layout("1 2 - cgroup2\n - cgroup\n", "0::/\nnonsense\n:\n::").hierarchies.empty());
}

TEST_CASE("what a v1 host cannot do is named with the reason") {
  FakeCgroupfs host(CgroupLayout::Kind::v1);
  CHECK(mentions(missing_features(host.layout()), "memory.guarantee: not on cgroup v1"));
  CHECK_FALSE(mentions(missing_features(host.layout()), "memory.swap"));
  ::unlink(host.path("memory/memory.memsw.limit_in_bytes").c_str());
  CHECK(mentions(missing_features(host.layout()), "memory.swap: no swap accounting (memory.memsw.* missing"));
  host.without_controller("cpuset");
  CHECK(mentions(missing_features(host.layout()),
                 "cpu.count, cpu.pin, cpu.nodes: no cgroup controller 'cpuset'"));
  host.without_controller("devices");
  CHECK(mentions(missing_features(host.layout()), "[[device]]: neither"));
}

TEST_CASE("a v2 host with all controllers lacks nothing") {
  FakeCgroupfs host(CgroupLayout::Kind::v2);
  CHECK(missing_features(host.layout()).empty());
}

TEST_CASE("a v2 host without swap accounting says so") {
  FakeCgroupfs host(CgroupLayout::Kind::v2);
  host.without_file("memory.swap.max");
  ::mkdir(host.path("unified/system.slice").c_str(), 0755);
  CHECK(
      mentions(missing_features(host.layout()), "memory.swap: no swap accounting (memory.swap.max missing"));
}
