// The way from a path to block devices, through partitions, loop devices, overlays and the like, on a tree of
// files that looks like sysfs.
#include "quotas/device_finder.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::quotas;
using holm::test::TemporaryDirectory;

namespace {

class FakeDevices {
 public:
  FakeDevices() { std::filesystem::create_directories(root_.path() + "/dev/block"); }

  // A device at devices/PLACE, as "vda" or, for a partition, "vda/vda1".
  void add(const std::string& place, DeviceNumber number, const std::string& schedulers = "[none]") {
    const std::string directory = path("devices/" + place);
    const std::string name = place.substr(place.rfind('/') + 1);
    std::filesystem::create_directories(directory + "/queue");
    write(place + "/dev", format_device_number(number) + "\n");
    write(place + "/uevent", "MAJOR=0\nDEVNAME=" + name + "\nDEVTYPE=disk\n");
    if (place.find('/') != std::string::npos) write(place + "/partition", "1\n");
    if (!schedulers.empty()) write(place + "/queue/scheduler", schedulers + "\n");
    std::filesystem::create_symlink(directory, path("dev/block/" + format_device_number(number)));
  }
  void back_loop(const std::string& name, const std::string& file) {
    std::filesystem::create_directories(path("devices/" + name + "/loop"));
    write(name + "/loop/backing_file", file + "\n");
  }
  void add_slave(const std::string& name, const std::string& slave) {
    const std::string slaves = path("devices/" + name + "/slaves");
    std::filesystem::create_directories(slaves);
    std::filesystem::create_symlink(path("devices/" + slave),
                                    slaves + "/" + slave.substr(slave.rfind('/') + 1));
  }
  void add_to_btrfs(const std::string& place) {
    const std::string devices = path("fs/btrfs/1234/devices");
    std::filesystem::create_directories(devices);
    std::filesystem::create_symlink(path("devices/" + place),
                                    devices + "/" + place.substr(place.rfind('/') + 1));
  }
  void mount(const std::string& line) { mounts_.push_back(*parse_mount(line)); }
  // What stat(2) would say of a path: the device of its file system and, where that is none, the mount.
  void lies_on(const std::string& place, DeviceNumber device, uint64_t mount = 0) {
    paths_[place] = {device, mount, {}};
  }
  void is_device(const std::string& place, DeviceNumber number) { paths_[place] = {{0, 6}, 24, number}; }

  DeviceFinder finder() const {
    return DeviceFinder({root_.path(), mounts_, [paths = paths_](const std::string& place) {
                           const auto found = paths.find(place);
                           return found == paths.end() ? std::nullopt : std::optional(found->second);
                         }});
  }

 private:
  std::string path(const std::string& name) const { return root_.path() + "/" + name; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path("devices/" + name)) << text;
  }

  TemporaryDirectory root_;
  std::vector<MountEntry> mounts_;
  std::map<std::string, PathFacts> paths_;
};

std::string names(const std::vector<BlockDevice>& devices) {
  std::string text;
  for (const BlockDevice& device : devices) text += (text.empty() ? "" : " ") + device.name;
  return text;
}

}  // namespace

TEST_CASE("a device number is read as it is written, and nothing else is one") {
  CHECK(parse_device_number("254:0") == DeviceNumber{254, 0});
  CHECK(format_device_number({259, 1048575}) == "259:1048575");
  for (const char* bad : {"", ":", "1", "1:", ":1", "1:2:3", "-1:0", "1: 2", "4294967296:0", "0:1048576"})
    CHECK_MESSAGE(!parse_device_number(bad), bad);
}

TEST_CASE("a disk is itself, with the scheduler that is chosen") {
  FakeDevices host;
  host.add("vda", {254, 0}, "none [mq-deadline] kyber bfq");
  host.lies_on("/srv", {254, 0});
  DeviceFinder finder = host.finder();
  CHECK(finder.add("/srv"));
  const std::vector<BlockDevice> expected = {{{254, 0}, "vda", "mq-deadline"}};
  CHECK(finder.devices() == IoDevices{expected, expected});
}

TEST_CASE("a partition is its whole disk, as the kernel refuses rates on partitions") {
  FakeDevices host;
  host.add("sda", {8, 0});
  host.add("sda/sda1", {8, 1}, "");
  host.add("sda/sda2", {8, 2}, "");
  host.lies_on("/", {8, 1});
  host.lies_on("/srv", {8, 2});
  DeviceFinder finder = host.finder();
  CHECK(finder.add("/"));
  CHECK(finder.add("/srv"));
  CHECK(names(finder.devices().limited) == "sda");
}

TEST_CASE("a loop device is itself and what its file lies on") {
  FakeDevices host;
  host.add("sda", {8, 0});
  host.add("sda/sda1", {8, 1}, "");
  host.add("loop0", {7, 0});
  host.add("loop0/loop0p1", {259, 0}, "");
  host.back_loop("loop0", "/var/disk image");
  host.lies_on("/var/disk image", {8, 1});
  host.lies_on("/srv", {259, 0});
  DeviceFinder finder = host.finder();
  CHECK(finder.add("/srv"));
  CHECK(names(finder.devices().limited) == "loop0 sda");
  CHECK(names(finder.devices().disks) == "sda");
}

TEST_CASE("a loop device whose file is in memory, or gone, stands alone") {
  FakeDevices host;
  host.add("loop0", {7, 0});
  host.mount("40 1 0:30 / /tmp rw - tmpfs tmpfs rw");
  host.lies_on("/tmp/image", {0, 30}, 40);
  for (const char* file : {"/tmp/image", "/tmp/other (deleted)"}) {
    host.back_loop("loop0", file);
    host.lies_on("/srv", {7, 0});
    DeviceFinder finder = host.finder();
    CHECK(finder.add("/srv"));
    CHECK(names(finder.devices().limited) == "loop0");
    CHECK(names(finder.devices().disks) == "loop0");
  }
}

TEST_CASE("dm and md take rates themselves; their parts are what shares by weight") {
  FakeDevices host;
  host.add("sda", {8, 0});
  host.add("sda/sda1", {8, 1}, "");
  host.add("sdb", {8, 16});
  host.add("md0", {9, 0}, "");
  host.add("dm-0", {252, 0}, "");
  host.add_slave("md0", "sda/sda1");
  host.add_slave("md0", "sdb");
  host.add_slave("dm-0", "md0");
  host.lies_on("/srv", {252, 0});
  DeviceFinder finder = host.finder();
  CHECK(finder.add("/srv"));
  CHECK(names(finder.devices().limited) == "dm-0");
  CHECK(names(finder.devices().disks) == "sda sdb");
}

TEST_CASE("an overlay is what its layers lie on") {
  FakeDevices host;
  host.add("sda", {8, 0});
  host.add("sdb", {8, 16});
  host.mount(
      "50 1 0:40 / / rw - overlay overlay rw,lowerdir=/lower\\0541:/no/such,upperdir=/upper,workdir=/work");
  host.lies_on("/", {0, 40}, 50);
  host.lies_on("/lower,1", {8, 16});
  host.lies_on("/upper", {8, 0});
  DeviceFinder finder = host.finder();
  CHECK(finder.file_system("/") == "overlay");
  CHECK(finder.add("/"));
  CHECK(names(finder.devices().limited) == "sdb sda");
}

TEST_CASE("a btrfs, whose subvolumes have numbers of their own, is all its devices") {
  FakeDevices host;
  host.add("sda", {8, 0});
  host.add("sda/sda2", {8, 2}, "");
  host.add("sdb", {8, 16});
  host.add_to_btrfs("sda/sda2");
  host.add_to_btrfs("sdb");
  host.mount("60 1 0:44 /subvolume /srv rw - btrfs /dev/sda2 rw,space_cache");
  host.lies_on("/srv", {0, 77}, 60);
  host.is_device("/dev/sda2", {8, 2});
  DeviceFinder finder = host.finder();
  CHECK(finder.add("/srv"));
  CHECK(names(finder.devices().limited) == "sda sdb");
}

TEST_CASE("memory, network file systems and what is not there have no device") {
  FakeDevices host;
  host.mount("40 1 0:30 / /tmp rw - tmpfs tmpfs rw");
  host.mount("41 1 0:31 / /net rw - nfs4 server:/export rw");
  host.lies_on("/tmp", {0, 30}, 40);
  host.lies_on("/net", {0, 31}, 41);
  host.lies_on("/unknown", {0, 99}, 99);
  host.lies_on("/gone", {8, 99});
  DeviceFinder finder = host.finder();
  for (const char* path : {"/tmp", "/net", "/unknown", "/gone", "/no/such"}) {
    CAPTURE(path);
    CHECK_FALSE(finder.add(path));
  }
  CHECK(finder.devices() == IoDevices{});
  CHECK(finder.file_system("/tmp") == "tmpfs");
  CHECK(finder.file_system("/net") == "nfs4");
  CHECK(finder.file_system("/no/such") == "");
}

TEST_CASE("what leads back to itself ends") {
  FakeDevices host;
  host.add("loop0", {7, 0});
  host.back_loop("loop0", "/self");
  host.lies_on("/self", {7, 0});
  host.add("dm-0", {252, 0}, "");
  host.add("dm-1", {252, 1}, "");
  host.add_slave("dm-0", "dm-1");
  host.add_slave("dm-1", "dm-0");
  host.lies_on("/mapped", {252, 0});
  host.mount("50 1 0:40 / /a rw - overlay overlay rw,lowerdir=/a:/a:/a,upperdir=/a");
  host.lies_on("/a", {0, 40}, 50);
  DeviceFinder finder = host.finder();
  finder.add("/self");
  finder.add("/mapped");
  finder.add("/a");
  CHECK(names(finder.devices().limited) == "loop0 dm-0");
}

TEST_CASE("a deep stack is followed only so far, and a wide one gives only so many devices") {
  FakeDevices host;
  for (unsigned i = 0; i < 100; ++i) {
    const std::string loop = "loop" + std::to_string(i), file = "/file" + std::to_string(i);
    host.add(loop, {7, i});
    host.back_loop(loop, file);
    host.lies_on(file, {7, i + 1});
  }
  host.lies_on("/deep", {7, 0});
  DeviceFinder deep = host.finder();
  CHECK(deep.add("/deep"));
  CHECK(deep.devices().limited.size() < 20);
  DeviceFinder wide = host.finder();
  for (unsigned i = 0; i < 100; ++i) wide.add("/file" + std::to_string(i));
  CHECK(wide.devices().limited.size() == 64);
}
