// The driver for the cgroup v2 hierarchy (Linux, Documentation/admin-guide/cgroup-v2.rst).
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/block_device.h"
#include "quotas/control_file.h"
#include "quotas/device_filter.h"
#include "quotas/group.h"
#include "quotas/group_files.h"
#include "quotas/systemd_scope.h"

namespace holm::quotas {
namespace {

constexpr std::array<std::string_view, 5> kUsedControllers = {"cpu", "memory", "pids", "io", "cpuset"};
// Where processes enter a container whose own group takes none any more.
constexpr const char* kEntryGroup = "holm-exec";
constexpr const char* kOwnEntry = "holm-self.";

class GroupV2 final : public Group {
 public:
  using Group::Group;

  bool is_v2() const override { return true; }
  void open_entry(CgroupEntry& entry) const override;
  void enter_self() const override;
  void remove_entry_of(pid_t process) const override { ::rmdir(own_entry(process).c_str()); }
  void delegate(uid_t uid, gid_t gid) override;

  void write_cpu(const CpuLimits& limits, Freshness freshness, std::vector<std::string>& warnings) override;
  void write_memory(const MemoryLimits& limits, Freshness freshness,
                    std::vector<std::string>& warnings) override;
  void write_cpuset(const CpuSet& cpus, const CpuSet& nodes, Freshness freshness) override;
  CpuSet available_cpus() const override;
  void read_limits(Limits& limits) const override;
  void add_usage(GroupFiles& files, Usage& usage) const override;
  UniqueFd watch_oom() const override;
  short oom_poll_events() const override { return POLLPRI; }

  bool can_restrict_devices() const override { return true; }
  void restrict_devices(const std::vector<DeviceRule>& rules) override {
    attach_device_filter(directory_, rules);
  }

  bool can_freeze() const override { return sys::exists(file("cgroup.freeze")); }
  void write_frozen(bool frozen) override { write_control_file(file("cgroup.freeze"), frozen ? "1" : "0"); }
  bool is_asked_to_freeze() const override { return read_control(file("cgroup.freeze")) == "1"; }
  bool is_frozen() const override { return read_keyed(file("cgroup.events"), "frozen") == 1; }
  bool kill_at_once() override;

 private:
  void prepare_parent() override {}
  void prepare() override;
  void forget() override;
  // Its own group takes no processes then.
  bool has_controllers_below() const {
    return !read_control(file("cgroup.subtree_control")).value_or("").empty();
  }
  std::string entry_directory() const;
  std::string own_entry(pid_t process) const { return file(fmt::format("{}{}", kOwnEntry, process)); }
  // What the hierarchy lets its groups use, by the file that says so.
  std::optional<CpuSet> available(std::string_view name) const;
  void add_io(GroupFiles& files, Usage& usage) const;
  void reclaim_down_to(Bytes limit);
  uint64_t sum_of_guarantees() const;
  void protect_parent();
  void warn_of_unprotected_slice(std::vector<std::string>& warnings) const;
};

// Lets groups in `directory` have the controllers. What cannot be had is left out: the limit that needs it
// then fails with its own name.
void enable_controllers(const std::string& directory, const std::vector<std::string_view>& controllers) {
  const std::string path = directory + "/cgroup.subtree_control";
  const std::vector<std::string> enabled = split_words(read_control(path).value_or(""));
  std::vector<std::string> missing;
  for (const std::string_view name : controllers)
    if (std::find(enabled.begin(), enabled.end(), name) == enabled.end())
      missing.push_back(fmt::format("+{}", name));
  if (missing.empty()) return;
  try {
    write_control_file(path, join(missing, " "));
  } catch (const Error&) {
    // One that the kernel refuses (cpu, where real-time processes run in groups) must not keep the others
    // away.
    for (const std::string& name : missing) ignore_errors([&] { write_control_file(path, name); });
  }
}

void GroupV2::prepare() {
  std::vector<std::string_view> wanted;
  for (const std::string_view name : kUsedControllers)
    if (has(name)) wanted.push_back(name);
  if (wanted.empty()) return;
  if (!is_in_scope()) enable_controllers(base_, wanted);  // what is delegated to a scope has them
  enable_controllers(parent_, wanted);
}

// What the kernel's delegation rules hand out (cgroup-v2.rst, "Delegation Containment"): never limit files.
void GroupV2::delegate(uid_t uid, gid_t gid) {
  for (const char* name : {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control"})
    sys::chown_path(file(name), uid, gid);
  sys::chown_path(directory_, uid, gid);
}

// A group with controllers enabled for nested groups takes no processes ("no internal processes" rule), as
// soon as an init system in the container has set itself up. New ones then enter a nested group beside the
// payload's.
std::string GroupV2::entry_directory() const {
  if (!has_controllers_below()) return directory_;
  std::string nested = file(kEntryGroup);
  if (::mkdir(nested.c_str(), 0755) != 0 && errno != EEXIST)
    throw Error::system(fmt::format("make cgroup '{}'", nested));
  return nested;
}

void GroupV2::enter_self() const {
  std::string directory = directory_;
  if (has_controllers_below()) {
    directory = own_entry(::getpid());
    sys::make_directory(directory, 0755);
  }
  write_control_file(directory + "/cgroup.procs", "0");
}

void GroupV2::open_entry(CgroupEntry& entry) const {
  const std::string directory = entry_directory();
  entry.v2_directory = sys::open(directory, O_PATH | O_DIRECTORY);
  entry.v2_procs = sys::open(directory + "/cgroup.procs", O_WRONLY);
}

void GroupV2::write_cpu(const CpuLimits& limits, Freshness freshness, std::vector<std::string>& warnings) {
  const bool used = freshness == Freshness::used;
  const uint64_t weight = cpu_weight_v2(limits.weight);
  if (uint64_t{limits.weight} * 100 > 10000 * 256 || limits.weight * 100 < 128)
    warnings.push_back(fmt::format("cpu.weight {} acts as {}: cgroup v2 knows no {}", limits.weight,
                                   (weight * 256 + 50) / 100, weight == 1 ? "less" : "more"));
  if (used || limits.weight != kDefaultWeight) write_checked(file("cpu.weight"), fmt::format("{}", weight));
  if (!used && limits.cap_percent == 0) return;
  // Kernels without CFS bandwidth control lack the file: no cap is then what they have.
  if (limits.cap_percent == 0 && !sys::exists(file("cpu.max"))) return;
  const uint64_t quota = microseconds_of(limits.cap_percent);
  forget_burst(file("cpu.max.burst"), freshness);
  write_checked(file("cpu.max"),
                fmt::format("{} {}", quota == 0 ? "max" : fmt::format("{}", quota), kPeriodMicroseconds));
  write_burst(file("cpu.max.burst"), limits, warnings);
}

void GroupV2::write_memory(const MemoryLimits& limits, Freshness freshness,
                           std::vector<std::string>& warnings) {
  const bool used = freshness == Freshness::used;
  if (used && limits.limit) reclaim_down_to(*limits.limit);
  if (used || limits.barrier) write_bytes_checked(file("memory.high"), limits.barrier, "max");
  if (used || limits.limit) write_bytes_checked(file("memory.max"), limits.limit, "max");
  if (used || limits.guarantee) {
    write_bytes_checked(file("memory.min"), limits.guarantee.value_or(Bytes{0}), "0");
    if (!is_in_scope()) protect_parent();
    if (is_in_scope() && limits.guarantee) warn_of_unprotected_slice(warnings);
  }
  if (!used && !limits.swap) return;
  if (sys::exists(file("memory.swap.max")))
    write_bytes_checked(file("memory.swap.max"), limits.swap, "max");
  else if (limits.swap)
    warnings.push_back("memory.swap has no effect: this kernel does not account swap");
}

// A limit below what is held would have the kernel kill processes; memory.high only makes it reclaim.
void GroupV2::reclaim_down_to(Bytes limit) {
  const std::string current = file("memory.current");
  if (read_number(current).value_or(0) <= limit.count) return;
  const auto barrier = read_bytes(file("memory.high"));
  write_bytes_checked(file("memory.high"), limit, "max");
  const Bytes held{read_number(current).value_or(0)};
  if (held <= limit) return;
  write_bytes_checked(file("memory.high"), barrier, "max");
  throw Error(fmt::format("set memory.limit to {}: the container holds {}", describe_bytes(limit),
                          describe_bytes(held)))
      .hint("end processes in it, or leave it more");
}

uint64_t GroupV2::sum_of_guarantees() const {
  uint64_t sum = 0;
  for (const std::string& name : list_directory(parent_))
    if (parse_unsigned(name)) sum += read_number(fmt::format("{}/{}/memory.min", parent_, name)).value_or(0);
  return sum;
}

// A group gets at most the protection that its parent has. The parent's must not be more than the sum either:
// where the hierarchy is mounted with memory_recursiveprot, the rest would protect containers that have no
// guarantee.
void GroupV2::protect_parent() {
  write_bytes_checked(parent_ + "/memory.min", Bytes{sum_of_guarantees()}, "0");
}

// A scope's and a slice's limits are systemd's to write, and the slice is the administrator's. systemd mounts
// the hierarchy with memory_recursiveprot: what protects the slice protects what is in the scope.
void GroupV2::warn_of_unprotected_slice(std::vector<std::string>& warnings) const {
  const std::string slice = levels().front();
  const Bytes sum{sum_of_guarantees()};
  if (read_number(slice + "/memory.min").value_or(0) >= sum.count) return;
  warnings.push_back(
      fmt::format("memory.guarantee holds only as far as systemd protects the slice: systemctl set-property "
                  "{} MemoryMin={}",
                  kScopeSlice, sum.count));
}

void GroupV2::forget() {
  if (is_in_scope()) return;
  if (has("memory") && read_number(parent_ + "/memory.min").value_or(0) > 0) protect_parent();
}

void GroupV2::write_cpuset(const CpuSet& cpus, const CpuSet& nodes, Freshness freshness) {
  const auto write = [&](const std::string& path, const CpuSet& wanted, const CpuSet& all) {
    if (!wanted.empty())
      write_checked(path, format_cpu_set(wanted));
    else if (freshness == Freshness::used && read_control(path).value_or("") != "")
      // Kernels (6.1 was seen) refuse the empty list, which is "any" in a new group, once there are processes
      // (ENOSPC).
      write_checked(path, format_cpu_set(all));
  };
  write(file("cpuset.cpus"), cpus, available_cpus());
  write(file("cpuset.mems"), nodes, available("cpuset.mems.effective").value_or(online_nodes()));
}

std::optional<CpuSet> GroupV2::available(std::string_view name) const {
  for (const std::string& directory : {parent_, base_})
    if (const auto text = read_control(fmt::format("{}/{}", directory, name)))
      if (auto numbers = parse_cpu_set(*text)) return numbers;
  return std::nullopt;
}

CpuSet GroupV2::available_cpus() const { return available("cpuset.cpus.effective").value_or(online_cpus()); }

void GroupV2::read_limits(Limits& limits) const {
  if (has("cpu")) {
    if (const auto weight = read_number(file("cpu.weight")))
      limits.cpu.weight = static_cast<uint32_t>((*weight * 256 + 50) / 100);
    const std::vector<std::string> cap = split_words(read_control(file("cpu.max")).value_or(""));
    const auto quota = cap.size() == 2 ? parse_unsigned(cap[0]) : std::nullopt;
    const auto period = cap.size() == 2 ? parse_unsigned(cap[1]) : std::nullopt;
    if (quota && period && *period > 0)
      limits.cpu.cap_percent = static_cast<uint32_t>(*quota * 100 / *period);
    limits.cpu.burst_percent = percent_of(read_number(file("cpu.max.burst")).value_or(0));
  }
  if (has("cpuset")) {
    if (const auto cpus = parse_cpu_set(read_control(file("cpuset.cpus")).value_or("")))
      if (*cpus != available_cpus()) limits.cpu.pin = *cpus;
    if (const auto nodes = parse_cpu_set(read_control(file("cpuset.mems")).value_or("")))
      if (nodes != available("cpuset.mems.effective")) limits.cpu.nodes = *nodes;
  }
  if (has("memory")) {
    limits.memory.limit = read_bytes(file("memory.max"));
    limits.memory.barrier = read_bytes(file("memory.high"));
    limits.memory.swap = read_bytes(file("memory.swap.max"));
    const auto guarantee = read_bytes(file("memory.min"));
    if (guarantee && guarantee->count > 0) limits.memory.guarantee = guarantee;
  }
  if (has("pids")) limits.pids = read_number(file("pids.max"));
}

void GroupV2::add_usage(GroupFiles& files, Usage& usage) const {
  // Every group has cpu.stat, also beside a v1 controller that counts the same.
  const auto used = usage.life.cpu == 0 ? files.keyed("cpu.stat", "usage_usec") : std::nullopt;
  if (used) {
    usage.cpu_time = std::chrono::microseconds(*used);
    usage.life.cpu = files.life();
  }
  if (const auto throttled = has("cpu") ? files.keyed("cpu.stat", "throttled_usec") : std::nullopt) {
    usage.throttled_time = std::chrono::microseconds(*throttled);
    usage.life.throttled = files.life();
  }
  if (has("io")) add_io(files, usage);
  if (has("memory")) {
    usage.life.memory = files.life();
    usage.memory = files.bytes("memory.current");
    usage.memory_peak = files.bytes("memory.peak");
    usage.oom_kills = files.keyed("memory.events", "oom_kill").value_or(0);
  }
  if (has("pids")) usage.pids = files.number("pids.current");
}

// "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0", one line a device. Kernels were seen that leave
// out the line's end behind devices without any, or tell "(unknown)" in the place of one.
void GroupV2::add_io(GroupFiles& files, Usage& usage) const {
  const auto& text = files.text("io.stat");
  if (!text) return;
  usage.life.io = files.life();
  for (const std::string& line : split(*text, '\n')) {
    const std::vector<std::string> words = split_words(line);
    const auto first =
        std::ranges::find_if(words, [](const auto& word) { return word.find('=') != word.npos; });
    if (first == words.begin() || !parse_device_number(*(first - 1))) continue;
    const std::string& device = *(first - 1);
    for (auto word = first; word != words.end(); ++word) {
      const size_t equals = word->find('=');
      if (equals == std::string::npos) continue;
      const std::string_view key = std::string_view(*word).substr(0, equals);
      const auto value = parse_unsigned(std::string_view(*word).substr(equals + 1));
      if (!value) continue;
      if (key == "rbytes") device_io(usage, device).read_bytes = *value;
      if (key == "wbytes") device_io(usage, device).written_bytes = *value;
      if (key == "rios") device_io(usage, device).reads = *value;
      if (key == "wios") device_io(usage, device).writes = *value;
    }
  }
}

UniqueFd GroupV2::watch_oom() const {
  UniqueFd events(::open(file("memory.events").c_str(), O_RDONLY | O_CLOEXEC));
  // A poll fires when the file has changed since this descriptor last read it; before the first read it
  // always does.
  if (events) read_fd(events.get(), "memory.events");
  return events;
}

bool GroupV2::kill_at_once() {
  if (!sys::exists(file("cgroup.kill"))) return false;  // Linux 5.14
  write_control_file(file("cgroup.kill"), "1");
  return true;
}

}  // namespace

std::unique_ptr<Group> make_group_v2(const CgroupLayout& layout, const CgroupLayout::Hierarchy& hierarchy,
                                     const std::string& parent_name, uint32_t number) {
  return std::make_unique<GroupV2>(layout, hierarchy, parent_name, number);
}

}  // namespace holm::quotas
