// Limits on disk I/O, measured with direct I/O from inside, which goes past the page cache.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <cstdio>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/file.h"
#include "base/sys.h"
#include "base/unit.h"
#include "quotas/device_finder.h"
#include "tests/support/inside.h"
#include "tests/support/loop_disk.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;

namespace {

constexpr const char* kIdle = "command = [\"/bin/sleep\", \"1000\"]\n";

// An emulated host's own speed must not be what is measured.
const uint64_t kRate = (patience() > 1 ? 2 : 20) << 20;  // bytes per second
const uint64_t kOps = patience() > 1 ? 50 : 200;         // per second
constexpr int kSeconds = 4;

json io_in_kernel(const Installation& installation, const std::string& name) {
  return json::parse(installation.holm_ok({"--json", "inspect", name}))["limits_in_kernel"]["io"];
}

using Devices = std::set<std::string>;  // "254:0"

// On which the kernel holds a rate.
Devices limited_devices(const Installation& installation, const std::string& name) {
  return io_in_kernel(installation, name)["devices"].get<Devices>();
}

Devices devices_below(const std::string& path) {
  quotas::DeviceFinder finder(quotas::host_device_facts());
  finder.add(path);
  Devices numbers;
  for (const auto& device : finder.devices().limited)
    numbers.insert(quotas::format_device_number(device.number));
  return numbers;
}

bool have_disk() { return have_root() && !devices_below("/tmp").empty(); }

// How long dd(1) takes inside, in seconds; the start of `holm exec` does not count.
double copy_seconds(const Installation& installation, const std::string& name, const std::string& words) {
  const Result result = inside(installation, name, "time -p dd " + words);
  double seconds = 0;
  const size_t at = result.errors.find("real ");
  const bool is_measured =
      at != std::string::npos && std::sscanf(result.errors.c_str() + at, "real %lf", &seconds) == 1;
  CHECK_MESSAGE((result.status == 0 && is_measured), result.errors);
  return seconds;
}

// An emulated host, of which the machine has other things to do as well, may be late; none may be early. Who
// else uses the disk may make it late as well, but not three times.
void check_rate(const std::string& what, double amount, double wanted,
                const std::function<double()>& seconds_taken) {
  const double least = wanted * (patience() > 1 ? 0.5 : 0.9);
  double rate = 0;
  for (int tries = 0; tries < 3 && rate <= least; ++tries) {
    const double seconds = seconds_taken();
    rate = amount / seconds;
    MESSAGE(fmt::format("{}: {:.1f} % of the rate ({:.2f} s)", what, rate / wanted * 100, seconds));
    CHECK(rate < wanted * 1.1);
  }
  CHECK(rate > least);
}

// Writes, then reads it again: kSeconds each.
void check_bytes(const Installation& installation, const std::string& name) {
  constexpr uint64_t kBlock = 256 << 10;
  const std::string count = fmt::format("bs={} count={}", kBlock, kRate * kSeconds / kBlock);
  const auto amount = static_cast<double>(kRate * kSeconds);
  check_rate("written", amount, static_cast<double>(kRate),
             [&] { return copy_seconds(installation, name, "if=/dev/zero of=/file oflag=direct " + count); });
  check_rate("read", amount, static_cast<double>(kRate),
             [&] { return copy_seconds(installation, name, "if=/file of=/dev/null iflag=direct " + count); });
}

std::string rates() { return fmt::format("[io]\nread = \"{0}M/s\"\nwrite = \"{0}M/s\"\n", kRate >> 20); }

// A root file system of its own at `directory`.
void copy_busybox(const Installation& installation, const std::string& directory) {
  const Result copied =
      run_host({"cp", "-a", installation.state_directory() + "/templates/busybox/root/.", directory});
  CHECK_MESSAGE(copied.status == 0, copied.errors);
}

// The scheduler of a disk of the test's own, until the end of the scope.
class Scheduler {
 public:
  Scheduler(const std::string& disk, const std::string& name)
      : file_("/sys/block/" + disk + "/queue/scheduler"), name_(name) {
    run_host({"sh", "-c", "echo " + name + " > " + file_});  // a kernel may have none of that name
  }
  ~Scheduler() { run_host({"sh", "-c", "echo none > " + file_}); }
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  bool is_chosen() const { return read_file(file_).find("[" + name_ + "]") != std::string::npos; }

 private:
  std::string file_;
  std::string name_;
};

// The disk that a lab host has for this: "vdc"; "" where there is none.
std::string slow_disk() {
  for (const std::string& name : list_directory("/sys/block"))
    if (read_file_if_exists("/sys/block/" + name + "/serial").value_or("").starts_with("slow")) return name;
  return "";
}

// Destroys the container before what its files lie on goes.
class Guard {
 public:
  Guard(const Installation& installation, std::string name)
      : installation_(installation), name_(std::move(name)) {}
  ~Guard() { installation_.holm({"destroy", "--force", name_}); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  const Installation& installation_;
  std::string name_;
};

}  // namespace

TEST_CASE("io.read and io.write hold within a tenth on the disk below a container's overlay") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("a disk below /tmp", have_disk());
  Installation installation;
  const Result started = installation.holm({"start", installation.write_config("box", kIdle + rates())});
  CHECK_MESSAGE(started.status == 0, started.errors);
  CHECK(started.errors == "");
  CHECK(limited_devices(installation, "box") == devices_below(installation.state_directory()));
  CHECK(io_in_kernel(installation, "box")["read"] == kRate);
  CHECK(io_in_kernel(installation, "box")["write_ops"].is_null());
  check_bytes(installation, "box");
}

TEST_CASE("io.read_ops and io.write_ops hold within a tenth") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("a disk below /tmp", have_disk());
  Installation installation;
  installation.start(
      "box", std::string(kIdle) + fmt::format("[io]\nread_ops = {}\nwrite_ops = {}\n", 2 * kOps, kOps));
  CHECK(io_in_kernel(installation, "box")["read_ops"] == 2 * kOps);
  CHECK(io_in_kernel(installation, "box")["write_ops"] == kOps);
  // Blocks that exist already, as the first write to a new one also writes what leads to it.
  copy_seconds(installation, "box",
               fmt::format("if=/dev/zero of=/file bs=64k count={}", 2 * kSeconds * kOps / 16));
  inside(installation, "box", "sync");
  const uint64_t writes = kOps * kSeconds, reads = 2 * kOps * kSeconds;
  check_rate("writes", static_cast<double>(writes), static_cast<double>(kOps), [&] {
    return copy_seconds(
        installation, "box",
        fmt::format("if=/dev/zero of=/file conv=notrunc oflag=direct bs=4k count={}", writes));
  });
  check_rate("reads", static_cast<double>(reads), static_cast<double>(2 * kOps), [&] {
    return copy_seconds(installation, "box",
                        fmt::format("if=/file of=/dev/null iflag=direct bs=4k count={}", reads));
  });
}

TEST_CASE("a root on a loop device is bounded there, and on the disk that its file lies on") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("a disk below /tmp", have_disk());
  Installation installation;
  const std::string root = installation.directory() + "/root";
  const LoopDisk disk(installation.directory() + "/image", root, "256M");
  const Guard guard(installation, "box");
  copy_busybox(installation, root);
  installation.start("box", kIdle + ("root = \"" + root + "\"\n") + rates());
  Devices expected = devices_below(installation.directory());
  expected.insert(disk.number());
  CHECK(limited_devices(installation, "box") == expected);
  check_bytes(installation, "box");
}

TEST_CASE("an overlay whose upper layer lies on a loop device is bounded there and on the disks below") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("a disk below /tmp", have_disk());
  Installation installation;
  const LoopDisk disk(installation.directory() + "/image", installation.state_directory() + "/containers",
                      "64M");
  const Guard guard(installation, "box");
  installation.start("box", kIdle + rates());
  Devices expected = devices_below(installation.directory());  // the template's, and those of the disk's file
  expected.insert(disk.number());
  CHECK(limited_devices(installation, "box") == expected);
}

TEST_CASE("a disk that is mounted into a container is bounded, too") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const LoopDisk disk(installation.directory() + "/image", installation.directory() + "/data", "16M");
  const Guard guard(installation, "box");
  installation.start("box", kIdle + rates() + mount_entry(installation.directory() + "/data", "/data"));
  CHECK(limited_devices(installation, "box").contains(disk.number()));
}

TEST_CASE("a root in memory has no device, which is warned about by name") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string root = installation.directory() + "/root";
  const HostMount memory({"-t", "tmpfs", "tmpfs"}, root);
  const Guard guard(installation, "box");
  copy_busybox(installation, root);
  // Kernels before 6.3 have no id-mapped mounts of tmpfs.
  const Result started = installation.holm(
      {"start", installation.write_config("box", kIdle + ("root = \"" + root + "\"\n") + rates() +
                                                     "[security]\nuser_namespace = false\n")});
  CHECK(started.status == 0);
  CHECK(started.errors.find("io.read, io.write have no effect on '" + root +
                            "': tmpfs has no block device") != std::string::npos);
  CHECK(limited_devices(installation, "box").empty());
}

TEST_CASE("a weight that nothing on the host can keep is warned about by name, with the cure") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string root = installation.directory() + "/root", image = installation.directory() + "/image";
  const LoopDisk disk(image, root, "64M");
  quotas::DeviceFinder finder(quotas::host_device_facts());
  finder.add(root);
  const Guard guard(installation, "box");
  copy_busybox(installation, root);
  const Result started = installation.holm(
      {"start", installation.write_config("box", kIdle + ("root = \"" + root + "\"\n[io]\nweight = 200\n"))});
  CHECK(started.status == 0);
  for (const auto& below : finder.devices().disks) {
    const bool shares = below.scheduler == "bfq";
    const bool is_told =
        started.errors.find("io.weight has no effect on " + below.name + ": ") != std::string::npos;
    CHECK_MESSAGE(is_told == !shares, started.errors);
  }
}

TEST_CASE("a weight is kept where BFQ schedules the disk, and then nothing is warned about") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  // In memory, so that the loop device is the disk at the bottom, whose scheduler is the test's to choose.
  const HostMount memory({"-t", "tmpfs", "tmpfs"}, installation.directory() + "/memory");
  const std::string root = installation.directory() + "/root";
  const LoopDisk disk(installation.directory() + "/memory/image", root, "64M");
  const Scheduler scheduler(disk.name(), "bfq");
  HOLM_REQUIRES("the scheduler BFQ", scheduler.is_chosen());
  const Guard guard(installation, "box");
  copy_busybox(installation, root);
  const auto start = [&](const std::string& weight) {
    return installation.holm(
        {"start", installation.write_config(
                      "box", kIdle + ("root = \"" + root + "\"\n") + "[io]\nweight = " + weight)});
  };
  CHECK(start("200").errors == "");
  CHECK(io_in_kernel(installation, "box")["weight"] == 200);
  installation.holm_ok({"stop", "-k", "box"});
  CHECK(start("5000").errors.find("io.weight 5000 acts as 1000 on " + disk.name() + ": BFQ knows no more") !=
        std::string::npos);
}

TEST_CASE("io.weight shares a disk that is short, as the weights are to each other") {
  HOLM_REQUIRES("root", have_root());
  const std::string disk = slow_disk();
  HOLM_REQUIRES("a lab host's slow disk", !disk.empty());
  Installation installation;
  const Scheduler scheduler(disk, "bfq");
  HOLM_REQUIRES("the scheduler BFQ", scheduler.is_chosen());
  // Else whoever began to read a moment ago comes first, whatever its weight is.
  write_control_file("/sys/block/" + disk + "/queue/iosched/low_latency", "0");
  // How long it waits for a reader's next request, in milliseconds: an emulated CPU may be late with it.
  write_control_file("/sys/block/" + disk + "/queue/iosched/slice_idle", "100");
  CHECK(run_host({"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", "/dev/" + disk})
            .status == 0);
  const std::string files = installation.directory() + "/files";
  const HostMount mount({"/dev/" + disk}, files);
  const Guard light(installation, "light"), heavy(installation, "heavy");
  for (const auto& [name, weight] : {std::pair{"light", 100}, {"heavy", 300}}) {
    const std::string root = files + "/" + name;
    sys::make_directory(root, 0755);
    copy_busybox(installation, root);
    // More than can be read while it is measured: whoever begins anew has nothing to read for a while.
    run_host({"dd", "if=/dev/zero", "of=" + root + "/file", "bs=1M", fmt::format("count={}", weight / 3),
              "conv=fsync"});
    installation.start(name,
                       fmt::format("root = \"{}\"\ncommand = [\"/bin/sh\", \"-c\", \"while :; do dd if=/file "
                                   "of=/dev/null iflag=direct bs=256k; done\"]\n[io]\nweight = {}\n",
                                   root, weight));
  }
  const auto bytes_read = [&] {
    std::map<std::string, double> bytes;
    for (const json& container : json::parse(installation.holm_ok({"--json", "counters", "--disk", "0"})))
      for (const json& counter : container["counters"])
        if (counter["resource"] == "diskread")
          bytes[container["name"].get<std::string>()] = counter["held"].get<double>();
    return bytes;
  };
  std::this_thread::sleep_for(std::chrono::seconds(2));
  auto before = bytes_read();
  std::this_thread::sleep_for(std::chrono::seconds(8));
  auto after = bytes_read();
  const double ratio = (after["heavy"] - before["heavy"]) / (after["light"] - before["light"]);
  MESSAGE(fmt::format("three times the weight: {:.2f} times the bytes of {:.1f} MiB", ratio,
                      (after["heavy"] - before["heavy"] + after["light"] - before["light"]) / (1 << 20)));
  const double tolerance = patience() > 1 ? 0.2 : 0.1;
  CHECK(ratio > 3 * (1 - tolerance));
  CHECK(ratio < 3 * (1 + tolerance));
}

TEST_CASE("what waits for its turn at a disk is killed all the same") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("a disk below /tmp", have_disk());
  Installation installation;
  // One write of which the last byte would have its turn in half an hour.
  installation.start(
      "box",
      "command = [\"/bin/sh\", \"-c\", \"exec dd if=/dev/zero of=/file oflag=direct bs=8M count=1\"]\n"
      "[io]\nwrite = \"4K/s\"\n");
  const std::string wait = "/proc/" + std::to_string(installation.pid_of("box")) + "/stat";
  CHECK(eventually([&] { return read_file(wait).find(") D ") != std::string::npos; }));
  const TimedResult stop = holm_timed(installation, {"stop", "-k", "box"}, "60");
  CHECK(stop.status == 0);
  CHECK(stop.seconds < 3 * patience());
  CHECK(installation.column("box", "state") == "stopped");
}
