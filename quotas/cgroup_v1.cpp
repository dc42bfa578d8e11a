// The driver for a cgroup v1 hierarchy (Linux, Documentation/admin-guide/cgroup-v1).
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/block_device.h"
#include "quotas/control_file.h"
#include "quotas/device_lines.h"
#include "quotas/group.h"
#include "quotas/group_files.h"
#include "quotas/group_tree.h"

namespace holm::quotas {
namespace {

class GroupV1 final : public Group {
 public:
  using Group::Group;

  bool is_v2() const override { return false; }
  void open_entry(CgroupEntry& entry) const override {
    entry.v1_tasks.push_back(sys::open(file("tasks"), O_WRONLY));
  }
  void enter_self() const override { write_control_file(file("tasks"), "0"); }
  void delegate(uid_t uid, gid_t gid) override;

  void write_cpu(const CpuLimits& limits, Freshness freshness, std::vector<std::string>& warnings) override;
  void write_memory(const MemoryLimits& limits, Freshness freshness,
                    std::vector<std::string>& warnings) override;
  void write_cpuset(const CpuSet& cpus, const CpuSet& nodes, Freshness freshness) override;
  CpuSet available_cpus() const override;
  void read_limits(Limits& limits) const override;
  void add_usage(GroupFiles& files, Usage& usage) const override;
  UniqueFd watch_oom() const override;
  short oom_poll_events() const override { return POLLIN; }

  bool can_restrict_devices() const override { return has("devices"); }
  void restrict_devices(const std::vector<DeviceRule>& rules) override;

  bool can_freeze() const override { return has("freezer"); }
  void write_frozen(bool frozen) override;
  bool is_asked_to_freeze() const override { return read_control(file("freezer.state")) != "THAWED"; }
  bool is_frozen() const override { return read_control(file("freezer.state")) == "FROZEN"; }
  bool kill_at_once() override { return false; }

 private:
  void prepare_parent() override;
  void prepare() override;
  void write_memory_limit(std::string_view what, std::string_view kind, std::optional<Bytes> limit);
  void add_io(GroupFiles& files, Usage& usage) const;
  void write_limit_and_swap(std::optional<Bytes> limit, std::optional<Bytes> limit_with_swap);
};

// Without cpuset.cpus and cpuset.mems no process can join; new groups have neither.
void fill_cpuset(const std::string& directory, const std::string& from) {
  for (const char* name : {"/cpuset.cpus", "/cpuset.mems"})
    if (const auto value = read_control(from + name)) write_checked(directory + name, *value);
}

void GroupV1::prepare_parent() {
  // Kernels before 5.11 account nested groups to their parents only where this is set; later ones always do.
  if (has("memory") && read_number(parent_ + "/memory.use_hierarchy") == 0)
    ignore_errors(
        [&] { write_control_file(parent_ + "/memory.use_hierarchy", "1"); });  // the limits hold without
}

void GroupV1::prepare() {
  if (!has("cpuset")) return;
  std::string outer = base_;
  for (const std::string& level : levels()) {
    if (read_control(level + "/cpuset.cpus") == "" || read_control(level + "/cpuset.mems") == "")
      fill_cpuset(level, outer);
    outer = level;
  }
  fill_cpuset(directory_, parent_);
}

// Only name=systemd, which has no limits, is safe to hand out: a v1 controller's files all belong to the
// directory's owner in nested groups, and its kernel code was never made for that.
void GroupV1::delegate(uid_t uid, gid_t gid) {
  if (!has("name=systemd")) return;
  for (const char* name : {"tasks", "cgroup.procs"}) sys::chown_path(file(name), uid, gid);
  sys::chown_path(directory_, uid, gid);
}

void GroupV1::write_cpu(const CpuLimits& limits, Freshness freshness, std::vector<std::string>& warnings) {
  const bool used = freshness == Freshness::used;
  if (used || limits.weight != kDefaultWeight)
    write_checked(file("cpu.shares"), fmt::format("{}", cpu_shares_v1(limits.weight)));
  if (!used && limits.cap_percent == 0) return;
  // Kernels without CFS bandwidth control lack both files: no cap is then what they have.
  if (limits.cap_percent == 0 && !sys::exists(file("cpu.cfs_quota_us"))) return;
  if (read_number(file("cpu.cfs_period_us")) != kPeriodMicroseconds)
    write_checked(file("cpu.cfs_period_us"), fmt::format("{}", kPeriodMicroseconds));
  const uint64_t quota = microseconds_of(limits.cap_percent);
  forget_burst(file("cpu.cfs_burst_us"), freshness);
  write_checked(file("cpu.cfs_quota_us"), quota == 0 ? "-1" : fmt::format("{}", quota));
  write_burst(file("cpu.cfs_burst_us"), limits, warnings);
}

void GroupV1::write_memory(const MemoryLimits& limits, Freshness freshness,
                           std::vector<std::string>& warnings) {
  const bool used = freshness == Freshness::used;
  if (limits.guarantee) warnings.push_back("memory.guarantee has no effect: not on cgroup v1");
  if (used || limits.barrier) write_bytes_checked(file("memory.soft_limit_in_bytes"), limits.barrier, "-1");

  const bool has_swap = (used || limits.swap) && sys::exists(file("memory.memsw.limit_in_bytes"));
  std::optional<Bytes> with_swap;
  if (limits.swap && !has_swap)
    warnings.push_back(
        "memory.swap has no effect: this host does not account swap (boot it with swapaccount=1)");
  else if (limits.swap && !limits.limit)
    warnings.push_back("memory.swap has no effect: on cgroup v1 it needs memory.limit");
  else if (limits.swap)
    with_swap = Bytes{limits.limit->count + limits.swap->count};

  if (has_swap)
    write_limit_and_swap(limits.limit, with_swap);
  else if (used || limits.limit)
    write_memory_limit("memory.limit", "", limits.limit);
}

// The kernel reclaims what it can, kills nobody, and refuses (EBUSY) where that is not enough. `kind`: "" or
// "memsw.".
void GroupV1::write_memory_limit(std::string_view what, std::string_view kind, std::optional<Bytes> limit) {
  try {
    write_bytes_checked(file(fmt::format("memory.{}limit_in_bytes", kind)), limit, "-1");
  } catch (const Error& error) {
    if (error.error_number() != EBUSY || !limit) throw;
    const Bytes held{read_number(file(fmt::format("memory.{}usage_in_bytes", kind))).value_or(0)};
    throw Error(fmt::format("set {} to {}: the container holds {}", what, describe_bytes(*limit),
                            describe_bytes(held)))
        .hint("end processes in it, or leave it more");
  }
}

// The kernel refuses a limit above the limit with swap (EINVAL), also for the moment between two writes.
void GroupV1::write_limit_and_swap(std::optional<Bytes> limit, std::optional<Bytes> limit_with_swap) {
  const auto before = read_bytes(file("memory.memsw.limit_in_bytes"));
  const bool raising = before && (!limit_with_swap || *limit_with_swap > *before);
  const auto write_sum = [&] {
    write_memory_limit("memory.limit and memory.swap", "memsw.", limit_with_swap);
  };
  if (raising) write_sum();
  write_memory_limit("memory.limit", "", limit);
  if (!raising) write_sum();
}

void GroupV1::write_cpuset(const CpuSet& cpus, const CpuSet& nodes, Freshness freshness) {
  if (freshness == Freshness::used) {
    // Memory that it has moves along, as it does on v2.
    ignore_errors(
        [&] { write_control_file(file("cpuset.memory_migrate"), "1"); });  // new memory obeys anyway
    fill_cpuset(directory_, parent_);
  }
  if (!cpus.empty()) write_checked(file("cpuset.cpus"), format_cpu_set(cpus));
  if (!nodes.empty()) write_checked(file("cpuset.mems"), format_cpu_set(nodes));
}

CpuSet GroupV1::available_cpus() const {
  for (const char* name : {"/cpuset.effective_cpus", "/cpuset.cpus"})
    if (const auto text = read_control(base_ + name))
      if (auto cpus = parse_cpu_set(*text)) return *cpus;
  return online_cpus();
}

void GroupV1::read_limits(Limits& limits) const {
  if (has("cpu")) {
    if (const auto shares = read_number(file("cpu.shares")))
      limits.cpu.weight = static_cast<uint32_t>(*shares / 4);
    const uint64_t quota = read_number(file("cpu.cfs_quota_us")).value_or(0);
    const uint64_t period = read_number(file("cpu.cfs_period_us")).value_or(0);
    if (period > 0) limits.cpu.cap_percent = static_cast<uint32_t>(quota * 100 / period);
    limits.cpu.burst_percent = percent_of(read_number(file("cpu.cfs_burst_us")).value_or(0));
  }
  if (has("cpuset")) {
    if (const auto cpus = parse_cpu_set(read_control(file("cpuset.cpus")).value_or("")))
      if (*cpus != available_cpus()) limits.cpu.pin = *cpus;
    const auto nodes = read_control(file("cpuset.mems"));
    if (nodes && nodes != read_control(base_ + "/cpuset.mems"))
      limits.cpu.nodes = parse_cpu_set(*nodes).value_or(CpuSet{});
  }
  if (has("memory")) {
    limits.memory.limit = read_bytes(file("memory.limit_in_bytes"));
    limits.memory.barrier = read_bytes(file("memory.soft_limit_in_bytes"));
    const auto with_swap = read_bytes(file("memory.memsw.limit_in_bytes"));
    if (with_swap && limits.memory.limit && *with_swap >= *limits.memory.limit)
      limits.memory.swap = Bytes{with_swap->count - limits.memory.limit->count};
  }
  if (has("pids")) limits.pids = read_number(file("pids.max"));
}

void GroupV1::add_usage(GroupFiles& files, Usage& usage) const {
  if (const auto used = has("cpuacct") ? files.number("cpuacct.usage") : std::nullopt) {
    usage.cpu_time = std::chrono::nanoseconds(*used);
    usage.life.cpu = files.life();
  }
  if (const auto throttled = has("cpu") ? files.keyed("cpu.stat", "throttled_time") : std::nullopt) {
    usage.throttled_time = std::chrono::nanoseconds(*throttled);
    usage.life.throttled = files.life();
  }
  if (has("blkio")) add_io(files, usage);
  if (has("memory")) {
    usage.life.memory = files.life();
    usage.memory = files.bytes("memory.usage_in_bytes");
    usage.memory_peak = files.bytes("memory.max_usage_in_bytes");
    usage.oom_kills = files.keyed("memory.oom_control", "oom_kill").value_or(0);
  }
  if (has("pids")) usage.pids = files.number("pids.current");
}

// "8:0 Read 4096", one line a device and kind; those of nested groups are in it. "Sync", "Async" and
// "Discard" are of other kinds, "Total" is of all.
void GroupV1::add_io(GroupFiles& files, Usage& usage) const {
  const auto add = [&](const char* name, uint64_t DeviceIo::*read, uint64_t DeviceIo::*written) {
    const auto& text = files.text(name);
    if (!text) return;
    usage.life.io = files.life();
    for (const std::string& line : split(*text, '\n')) {
      const std::vector<std::string> words = split_words(line);
      const bool is_of_device = words.size() == 3 && parse_device_number(words[0]);
      const auto value = is_of_device ? parse_unsigned(words[2]) : std::nullopt;
      if (value && words[1] == "Read") device_io(usage, words[0]).*read = *value;
      if (value && words[1] == "Write") device_io(usage, words[0]).*written = *value;
    }
  };
  add("blkio.throttle.io_service_bytes_recursive", &DeviceIo::read_bytes, &DeviceIo::written_bytes);
  add("blkio.throttle.io_serviced_recursive", &DeviceIo::reads, &DeviceIo::writes);
}

UniqueFd GroupV1::watch_oom() const {
  const UniqueFd control(::open(file("cgroup.event_control").c_str(), O_WRONLY | O_CLOEXEC));
  const UniqueFd watched(::open(file("memory.oom_control").c_str(), O_RDONLY | O_CLOEXEC));
  UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!control || !watched || !event) return {};
  const std::string text = fmt::format("{} {}", event.get(), watched.get());
  // Kernels may drop this (deprecated) interface: the counter of OOM kills is then all that there is.
  if (::write(control.get(), text.data(), text.size()) < 0) return {};
  return event;
}

void GroupV1::restrict_devices(const std::vector<DeviceRule>& rules) {
  write_control_file(file("devices.deny"), "a");
  const std::string allow = file("devices.allow");
  const UniqueFd fd = sys::open(allow, O_WRONLY);
  for (const DeviceRule& rule : rules) {
    const std::string line = device_line(rule);
    if (::write(fd.get(), (line + '\n').data(), line.size() + 1) < 0)
      throw Error::system(fmt::format("write '{}' to '{}'", line, allow));
  }
  const std::string list = file("devices.list");
  const std::string found = read_file(list);
  if (parse_device_lines(found) != merge_device_rules(rules))
    throw Error(fmt::format("write the device allow-list: '{}' holds '{}'", list, one_line(found)));
}

void GroupV1::write_frozen(bool frozen) {
  write_to_tree(directory_, "freezer.state", frozen ? "FROZEN" : "THAWED");
}

}  // namespace

std::unique_ptr<Group> make_group_v1(const CgroupLayout& layout, const CgroupLayout::Hierarchy& hierarchy,
                                     const std::string& parent_name, uint32_t number) {
  return std::make_unique<GroupV1>(layout, hierarchy, parent_name, number);
}

}  // namespace holm::quotas
