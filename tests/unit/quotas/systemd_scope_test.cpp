// Where groups are made on a host whose groups belong to systemd.
#include "quotas/systemd_scope.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "base/sys.h"
#include "tests/unit/quotas/fake_cgroupfs.h"
#include "tests/unit/quotas/message_of.h"

using namespace holm;
using namespace holm::quotas;
using holm::test::FakeCgroupfs;
using holm::test::message_of;
using Kind = CgroupLayout::Kind;

namespace {

CgroupLayout managed(const FakeCgroupfs& host) {
  CgroupLayout layout = host.layout();
  layout.manager = CgroupLayout::Manager::systemd;
  return layout;
}

// What systemd does when it starts the unit.
void make_scope(const FakeCgroupfs& host, const std::string& hierarchy) {
  for (const char* group : {"/machine.slice", "/machine.slice/holm.scope"})
    ::mkdir(host.path(hierarchy + group).c_str(), 0755);
}

}  // namespace

TEST_CASE("a unit is known in any hierarchy by its slice and whole name") {
  CHECK(is_in_unit("0::/machine.slice/holm.scope/monitors\n", "holm.scope"));
  CHECK(is_in_unit("0::/machine.slice/holm.scope\n", "holm.scope"));
  CHECK(is_in_unit("4:memory:/\n1:name=systemd:/machine.slice/holm.scope\n0::/\n", "holm.scope"));
  CHECK(is_in_unit("0::/outer/machine.slice/holm-1a2b.scope/7\n", "holm-1a2b.scope"));
  CHECK_FALSE(is_in_unit("0::/machine.slice/holm.scope-x\n", "holm.scope"));
  CHECK_FALSE(is_in_unit("0::/machine.slice/holm-1a2b.scope\n", "holm.scope"));
  CHECK_FALSE(is_in_unit("0::/user.slice/session-3.scope\n", "holm.scope"));
  CHECK_FALSE(is_in_unit("", "holm.scope"));
}

TEST_CASE("an installation's groups stand in its scope where systemd manages them, else at the top") {
  FakeCgroupfs host(Kind::v2);
  CHECK(parent_directories(host.layout(), "holm") == std::vector<std::string>{host.path("unified/holm")});
  CHECK(parent_directories(managed(host), "holm-1a2b") ==
        std::vector<std::string>{host.path("unified/machine.slice/holm-1a2b.scope")});
  CHECK(make_cgroup(managed(host), "holm", 7)->directories() ==
        std::vector<std::string>{host.path("unified/machine.slice/holm.scope/7")});
  CHECK(describe_layout(host.layout(), "holm") == "v2");
  CHECK(describe_layout(managed(host), "holm-1a2b") == "v2, in systemd's holm-1a2b.scope");
}

TEST_CASE("on v2 the scope is systemd's to make, and controllers are enabled from the scope on") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = make_cgroup(managed(host), "holm", 7);
  CHECK(message_of([&] { cgroup->create(); }) == "make cgroup '" +
                                                     host.path("unified/machine.slice/holm.scope/7") +
                                                     "': No such file or directory (ENOENT)");
  CHECK_FALSE(sys::exists(host.path("unified/machine.slice")));

  make_scope(host, "unified");
  cgroup->create();
  CHECK(host.read("unified/cgroup.subtree_control") == "\n");
  CHECK(host.read("unified/machine.slice/cgroup.subtree_control") == "\n");
  CHECK(host.read("unified/machine.slice/holm.scope/cgroup.subtree_control") ==
        "+cpu +memory +pids +io +cpuset");
}

TEST_CASE("in v1 hierarchies that systemd does not use Holm makes the whole path, and removes it") {
  FakeCgroupfs host(Kind::v1);
  for (const char* hierarchy : {"cpu", "memory", "devices", "blkio", "pids", "systemd"})
    make_scope(host, hierarchy);
  const auto cgroup = make_cgroup(managed(host), "holm", 7);
  cgroup->create();
  CHECK(host.read("cpuset/machine.slice/cpuset.cpus") == "0-3");
  CHECK(host.read("cpuset/machine.slice/holm.scope/cpuset.mems") == "0-1");
  CHECK(host.read("cpuset/machine.slice/holm.scope/7/cpuset.cpus") == "0-3");
  CHECK(sys::exists(host.path("freezer/machine.slice/holm.scope/7")));
  CHECK(cgroup_numbers(managed(host), "holm") == std::vector<uint32_t>{7});

  remove_empty_parents(managed(host), "holm");  // not while a container is in it
  CHECK(sys::exists(host.path("freezer/machine.slice/holm.scope/7")));
  cgroup->remove();
  remove_empty_parents(managed(host), "holm");
  CHECK_FALSE(sys::exists(host.path("freezer/machine.slice")));
  CHECK_FALSE(sys::exists(host.path("cpuset/machine.slice")));
  CHECK(sys::exists(host.path("memory/machine.slice/holm.scope")));
  CHECK(sys::exists(host.path("systemd/machine.slice/holm.scope")));
}

TEST_CASE("the monitors' group is no container, and a scope that is gone has none") {
  FakeCgroupfs host(Kind::v2);
  CHECK(cgroup_numbers(managed(host), "holm").empty());
  remove_empty_parents(managed(host), "holm");
  make_scope(host, "unified");
  ::mkdir(host.path("unified/machine.slice/holm.scope/monitors").c_str(), 0755);
  ::mkdir(host.path("unified/machine.slice/holm.scope/12").c_str(), 0755);
  CHECK(cgroup_numbers(managed(host), "holm") == std::vector<uint32_t>{12});
}

TEST_CASE(
    "a guarantee in a scope leaves the files of systemd's units alone, and says what it needs of them") {
  FakeCgroupfs host(Kind::v2);
  make_scope(host, "unified");
  const auto cgroup = make_cgroup(managed(host), "holm", 7);
  cgroup->create();
  Limits limits;
  limits.memory.guarantee = Bytes{16 << 20};
  CHECK(cgroup->apply(limits) ==
        std::vector<std::string>{"memory.guarantee holds only as far as systemd protects the slice: "
                                 "systemctl set-property machine.slice MemoryMin=16777216"});
  CHECK(host.read("unified/machine.slice/holm.scope/7/memory.min") == "16777216");
  CHECK(host.read("unified/machine.slice/holm.scope/memory.min") == "0\n");
  host.write("unified/machine.slice/memory.min", "16777216\n");
  CHECK(cgroup->apply(limits).empty());
}
