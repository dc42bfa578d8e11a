// Limits on disk I/O: what is written in each version, read back, warned about and taken away.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/quotas/fake_cgroupfs.h"

using namespace holm;
using namespace holm::quotas;
using holm::test::FakeCgroupfs;
using Kind = CgroupLayout::Kind;
using Warnings = std::vector<std::string>;

namespace {

const BlockDevice kDisk = {{254, 0}, "vda", "bfq"};
const BlockDevice kLoop = {{7, 0}, "loop0", "none"};

std::unique_ptr<Cgroup> created(const FakeCgroupfs& host) {
  auto cgroup = make_cgroup(host.layout(), "holm", 7);
  cgroup->create();
  return cgroup;
}

Limits io_limits() {
  Limits limits;
  limits.io.weight = 200;
  limits.io.read = Bytes{50 << 20};
  limits.io.write_ops = 1000;
  limits.io.devices = {{kLoop, kDisk}, {kDisk}};
  return limits;
}

// As the kernel tells them: by number, in its order.
Limits as_read(Limits limits) {
  limits.io.devices = {{{{7, 0}, "", ""}, {{254, 0}, "", ""}}, {}};
  return limits;
}

bool mentions(const Warnings& warnings, const std::string& text) {
  for (const std::string& warning : warnings)
    if (warning.find(text) != std::string::npos) return true;
  return false;
}

}  // namespace

TEST_CASE("on v2 each device gets its line, and the group its weight") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  CHECK(cgroup->apply(io_limits()) == Warnings{});
  CHECK(host.read("unified/holm/7/io.max") ==
        "7:0 rbps=52428800 wbps=max riops=max wiops=1000\n"
        "254:0 rbps=52428800 wbps=max riops=max wiops=1000\n");
  CHECK(host.read("unified/holm/7/io.weight") == "default 200\n");
  CHECK(host.read("unified/holm/7/io.bfq.weight") == "200\n");
  CHECK(cgroup->read_limits() == as_read(io_limits()));
}

TEST_CASE("on v1 each rate has a file of its own") {
  FakeCgroupfs host(Kind::hybrid);
  const auto cgroup = created(host);
  CHECK(cgroup->apply(io_limits()) == Warnings{});
  CHECK(host.read("blkio/holm/7/blkio.throttle.read_bps_device") == "7:0 52428800\n254:0 52428800\n");
  CHECK(host.read("blkio/holm/7/blkio.throttle.write_iops_device") == "7:0 1000\n254:0 1000\n");
  CHECK(host.read("blkio/holm/7/blkio.throttle.write_bps_device") == "");
  CHECK(host.read("blkio/holm/7/blkio.bfq.weight") == "200\n");
  CHECK(cgroup->read_limits() == as_read(io_limits()));
}

TEST_CASE("what is no longer asked for is taken away, also on devices that are no longer there") {
  for (const Kind kind : {Kind::v1, Kind::v2}) {
    FakeCgroupfs host(kind);
    const auto cgroup = created(host);
    cgroup->apply(io_limits());
    Limits other = io_limits();
    other.io.read.reset();
    other.io.write = Bytes{1 << 20};
    other.io.devices.limited = {kDisk};
    CHECK(cgroup->apply(other) == Warnings{});
    if (kind == Kind::v2)
      CHECK(host.read("unified/holm/7/io.max") ==
            "7:0 rbps=max wbps=max riops=max wiops=max\n254:0 rbps=max wbps=1048576 riops=max wiops=1000\n");
    else
      CHECK(host.read("blkio/holm/7/blkio.throttle.read_bps_device") == "7:0 0\n254:0 0\n");
    const IoLimits left = cgroup->read_limits().io;
    CHECK(left.devices.limited == std::vector<BlockDevice>{{{254, 0}, "", ""}});
    CHECK_FALSE(left.read);
    CHECK(left.write == Bytes{1 << 20});
    CHECK(cgroup->apply({}) == Warnings{});
    CHECK(cgroup->read_limits() == Limits{});
  }
}

TEST_CASE("a rate that the kernel did not take is a warning that names keys and device") {
  FakeCgroupfs host(Kind::v2);
  host.ignore_writes_to("io.max");
  CHECK(created(host)->apply(io_limits()) ==
        Warnings{"io.read, io.write_ops have no effect on loop0: the kernel holds no rate",
                 "io.read, io.write_ops have no effect on vda: the kernel holds no rate"});
}

TEST_CASE("a kernel without the files is a warning with the cure, and the container starts") {
  FakeCgroupfs v2(Kind::v2);
  for (const char* name : {"io.max", "io.weight", "io.bfq.weight"}) v2.without_file(name);
  Limits limits = io_limits();
  limits.io.devices.disks[0].scheduler = "mq-deadline";
  CHECK(
      created(v2)->apply(limits) ==
      Warnings{"io.weight has no effect on vda: its scheduler 'mq-deadline' knows no weights (modprobe bfq; "
               "echo bfq > /sys/block/vda/queue/scheduler)",
               "io.read, io.write_ops have no effect: this kernel cannot bound the rates of disks "
               "(CONFIG_BLK_DEV_THROTTLING is off)"});
  FakeCgroupfs none(Kind::v1);
  none.without_controller("blkio");
  CHECK(
      created(none)->apply(limits) ==
      Warnings{"io.weight, io.read, io.write_ops have no effect: this host has no cgroup controller 'io' or "
               "'blkio' (CONFIG_BLK_CGROUP is off)"});
  CHECK(created(none)->apply({}) == Warnings{});
}

TEST_CASE("a weight is warned about where nothing shares the disk by weight") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  Limits limits;
  limits.io.weight = 200;
  limits.io.devices.disks = {{{8, 0}, "sda", "none"}};
  CHECK(cgroup->apply(limits) ==
        Warnings{"io.weight has no effect on sda: its scheduler 'none' knows no weights (echo bfq > "
                 "/sys/block/sda/queue/scheduler)"});
  host.write("unified/io.cost.qos", "8:0 enable=0 ctrl=auto\n");
  CHECK(cgroup->apply(limits).size() == 1);
  host.write("unified/io.cost.qos", "8:16 enable=0 ctrl=auto\n8:0 enable=1 ctrl=auto\n");
  CHECK(cgroup->apply(limits) == Warnings{});
  limits.io.devices.disks = {{{253, 0}, "zram0", ""}};
  CHECK(cgroup->apply(limits) ==
        Warnings{"io.weight has no effect on zram0: it has no scheduler that could share by weight"});
}

TEST_CASE("a weight beyond BFQ's range is held and warned about") {
  FakeCgroupfs host(Kind::v1);
  const auto cgroup = created(host);
  Limits limits;
  limits.io.weight = 5000;
  limits.io.devices.disks = {kDisk};
  CHECK(cgroup->apply(limits) == Warnings{"io.weight 5000 acts as 1000 on vda: BFQ knows no more"});
  CHECK(host.read("blkio/holm/7/blkio.bfq.weight") == "1000\n");
}

TEST_CASE("the scheduler of older kernels has another scale of weights") {
  FakeCgroupfs host(Kind::v1);
  host.without_file("blkio.bfq.weight");
  const auto cgroup = created(host);
  host.write("blkio/holm/7/blkio.weight", "500\n");
  Limits limits;
  limits.io.weight = 50;
  limits.io.devices.disks = {{{8, 0}, "sda", "cfq"}};
  CHECK(cgroup->apply(limits) == Warnings{});
  CHECK(host.read("blkio/holm/7/blkio.weight") == "250\n");
  CHECK(cgroup->read_limits().io.weight == 50);
}

TEST_CASE("lifting takes rates away in nested groups, too, and leaves the weight") {
  FakeCgroupfs host(Kind::v2);
  const auto cgroup = created(host);
  cgroup->apply(io_limits());
  ::mkdir(host.path("unified/holm/7/nested").c_str(), 0755);
  host.write("unified/holm/7/nested/io.max", "254:0 rbps=1 wbps=max riops=max wiops=max\n");
  cgroup->lift_io_limits();
  const std::string none = "254:0 rbps=max wbps=max riops=max wiops=max\n";
  CHECK(host.read("unified/holm/7/nested/io.max") == none);
  CHECK(host.read("unified/holm/7/io.max") == "7:0 rbps=max wbps=max riops=max wiops=max\n" + none);
  CHECK(host.read("unified/holm/7/io.weight") == "default 200\n");
  cgroup->remove();
  cgroup->lift_io_limits();  // nothing there: nothing to do
}

TEST_CASE("what a host lacks of disk limits is told by name") {
  FakeCgroupfs v1(Kind::v1);
  CHECK(mentions(missing_features(v1.layout()), "io.write, io.write_ops: on cgroup v1"));
  CHECK_FALSE(mentions(missing_features(v1.layout()), "io.weight"));
  v1.without_controller("blkio");
  CHECK(mentions(missing_features(v1.layout()), "io.*: no cgroup controller 'io' or 'blkio'"));

  FakeCgroupfs v2(Kind::v2);
  created(v2);
  CHECK_FALSE(mentions(missing_features(v2.layout()), "io."));
  CHECK(why_weight_has_no_effect(v2.layout(), kDisk) == "");
  CHECK(why_weight_has_no_effect(v2.layout(), kLoop).starts_with("its scheduler 'none' knows no weights"));
  for (const char* name : {"io.max", "io.weight", "io.bfq.weight"})
    ::unlink(v2.path("unified/holm/" + std::string(name)).c_str());
  CHECK(mentions(missing_features(v2.layout()), "io.read, io.write, io.read_ops, io.write_ops: the kernel"));
  CHECK(mentions(missing_features(v2.layout()), "io.weight: nothing on this host"));
  CHECK(why_weight_has_no_effect(v2.layout(), kLoop) == "");
}
