// What this host's cgroups cannot do, in words for `holm check`.
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/file.h"
#include "base/sys.h"
#include "quotas/cgroup.h"
#include "quotas/io_control.h"
#include "quotas/systemd_scope.h"

namespace holm::quotas {
namespace {

struct Key {
  const char* controller;
  const char* keys;
  const char* cure;
};

constexpr Key kKeys[] = {
    {"cpu", "cpu.weight, cpu.cap", "the kernel needs CONFIG_CGROUP_SCHED"},
    {"cpuset", "cpu.count, cpu.pin, cpu.nodes", "the kernel needs CONFIG_CPUSETS"},
    {"memory", "memory.*",
     "the kernel needs CONFIG_MEMCG; on some boards it is booted with cgroup_enable=memory"},
    {"pids", "pids.limit", "the kernel needs CONFIG_CGROUP_PIDS"},
};

// A directory whose files show what containers will have: the root group of v2 has no limit files, any other
// has. Nothing where there is none to look at.
std::optional<std::string> sample_directory(const CgroupLayout::Hierarchy& hierarchy,
                                            const std::string& file) {
  const std::string& base = hierarchy.mount_point;
  if (!hierarchy.is_v2) return base;
  for (const std::string& name : list_directory(base))
    if (sys::exists(base + '/' + name + '/' + file)) return base + '/' + name;
  return std::nullopt;
}

void check_cpu(const CgroupLayout::Hierarchy& hierarchy, std::vector<std::string>& missing) {
  const auto sample = sample_directory(hierarchy, "cpu.weight");
  if (!sample) return;
  const std::string file = *sample + (hierarchy.is_v2 ? "/cpu.max" : "/cpu.cfs_quota_us");
  if (!sys::exists(file))
    missing.push_back("cpu.cap: the kernel cannot cap CPU time (CONFIG_CFS_BANDWIDTH is off)");
  else if (!sys::exists(*sample + (hierarchy.is_v2 ? "/cpu.max.burst" : "/cpu.cfs_burst_us")))
    missing.push_back("cpu.burst: the kernel cannot save up CPU time (Linux 5.14 can)");
}

void check_memory(const CgroupLayout::Hierarchy& hierarchy, std::vector<std::string>& missing) {
  const auto sample = sample_directory(hierarchy, "memory.max");
  if (sample && hierarchy.is_v2 && !sys::exists(*sample + "/memory.swap.max"))
    missing.push_back("memory.swap: no swap accounting (memory.swap.max missing; CONFIG_SWAP is off)");
  if (hierarchy.is_v2) return;
  if (!sys::exists(*sample + "/memory.memsw.limit_in_bytes"))
    missing.push_back("memory.swap: no swap accounting (memory.memsw.* missing; boot with swapaccount=1)");
  missing.push_back(
      "memory.guarantee: not on cgroup v1 (boot with systemd.unified_cgroup_hierarchy=1 for v2)");
  missing.push_back("memory.barrier: on cgroup v1 it acts only while the host is short of memory");
}

// Files that the root group of v1 lacks are in any other; BFQ's counters are in both.
IoSharers sample_sharers(const CgroupLayout::Hierarchy& hierarchy, const std::string& sample) {
  IoSharers sharers = io_sharers(hierarchy.is_v2 ? IoVersion::v2 : IoVersion::v1, sample);
  if (!hierarchy.is_v2 && sys::exists(sample + "/blkio.bfq.io_service_bytes")) sharers.bfq = true;
  return sharers;
}

void check_io(const CgroupLayout& layout, std::vector<std::string>& missing) {
  const auto* hierarchy = layout.find("io");
  if (!hierarchy) hierarchy = layout.find("blkio");
  if (!hierarchy) {
    missing.push_back("io.*: no cgroup controller 'io' or 'blkio' (the kernel needs CONFIG_BLK_CGROUP)");
    return;
  }
  const auto sample = sample_directory(*hierarchy, "io.stat");
  if (!sample) return;
  const std::string file = *sample + (hierarchy->is_v2 ? "/io.max" : "/blkio.throttle.read_bps_device");
  if (!sys::exists(file))
    missing.push_back(
        "io.read, io.write, io.read_ops, io.write_ops: the kernel cannot bound the rates of disks "
        "(CONFIG_BLK_DEV_THROTTLING is off)");
  if (!hierarchy->is_v2)
    missing.push_back(
        "io.write, io.write_ops: on cgroup v1 writes are bounded only where the container waits for them "
        "(direct, synchronous, fsync); what the kernel writes back later is the host's");
  if (sample_sharers(*hierarchy, *sample) == IoSharers{})
    missing.push_back("io.weight: nothing on this host shares disks by weight (modprobe bfq)");
}

bool has_freezer(const CgroupLayout& layout) {
  if (layout.find("freezer")) return true;
  // Every v2 kernel since 5.2 has one; only where a group shows that it has not is it missing.
  return std::any_of(layout.hierarchies.begin(), layout.hierarchies.end(), [](const auto& hierarchy) {
    if (!hierarchy.is_v2) return false;
    const auto sample = sample_directory(hierarchy, "cgroup.type");
    return !sample || sys::exists(*sample + "/cgroup.freeze");
  });
}

const char* kind_name(CgroupLayout::Kind kind) {
  switch (kind) {
    case CgroupLayout::Kind::v1:
      return "v1";
    case CgroupLayout::Kind::v2:
      return "v2";
    case CgroupLayout::Kind::hybrid:
      return "hybrid (v1 controllers beside a v2 hierarchy)";
  }
  return "unknown";
}

}  // namespace

std::string describe_layout(const CgroupLayout& layout, const std::string& parent_name) {
  const std::string kind = kind_name(layout.kind);
  if (layout.manager == CgroupLayout::Manager::nobody) return kind;
  return fmt::format("{}, in systemd's {}", kind, scope_unit(parent_name));
}

std::vector<std::string> missing_features(const CgroupLayout& layout) {
  std::vector<std::string> missing;
  for (const Key& key : kKeys)
    if (!layout.find(key.controller))
      missing.push_back(
          fmt::format("{}: no cgroup controller '{}' ({})", key.keys, key.controller, key.cure));
  if (const auto* hierarchy = layout.find("cpu")) check_cpu(*hierarchy, missing);
  if (const auto* hierarchy = layout.find("memory")) check_memory(*hierarchy, missing);
  check_io(layout, missing);
  if (!has_freezer(layout))
    missing.push_back("pause: no cgroup freezer (cgroup v2 of Linux 5.2, or v1's 'freezer')");
  const bool has_v2 = std::any_of(layout.hierarchies.begin(), layout.hierarchies.end(),
                                  [](const auto& hierarchy) { return hierarchy.is_v2; });
  if (!layout.find("devices") && !has_v2)
    missing.push_back(
        "[[device]]: neither cgroup v2 nor v1's 'devices' controller, so no container can start");
  return missing;
}

std::string why_weight_has_no_effect(const CgroupLayout& layout, const BlockDevice& disk) {
  const auto* hierarchy = layout.find("io");
  if (!hierarchy) hierarchy = layout.find("blkio");
  const auto sample = hierarchy ? sample_directory(*hierarchy, "io.stat") : std::nullopt;
  if (!sample) return "";
  const IoSharers sharers = sample_sharers(*hierarchy, *sample);
  return sharers == IoSharers{} ? "" : why_no_weight(sharers, hierarchy->mount_point, disk);
}

}  // namespace holm::quotas
