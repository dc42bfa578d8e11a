// A container's groups over all hierarchies of the host, as one Cgroup.
#include "quotas/cgroup.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/control_file.h"
#include "quotas/facts.h"
#include "quotas/group.h"
#include "quotas/group_files.h"
#include "quotas/group_kill.h"
#include "quotas/group_tree.h"
#include "quotas/systemd_scope.h"

namespace holm::quotas {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

class GroupSet final : public Cgroup {
 public:
  explicit GroupSet(std::vector<std::unique_ptr<Group>> groups) : groups_(std::move(groups)) {}

  void create() override;
  std::vector<std::string> apply(const Limits& limits) override;
  void restrict_devices(const std::vector<DeviceRule>& rules) override;
  void delegate(uid_t uid, gid_t gid) override;
  CgroupEntry open_entry() const override;
  void enter_self() const override;
  void remove_entry_of(pid_t process) const override;
  void freeze() override;
  void begin_freeze() override;
  void thaw() override;
  bool is_asked_to_freeze() const override;
  bool is_frozen() const override;
  std::vector<pid_t> processes() const override { return tree_processes(tracker().directory()); }
  void lift_io_limits() override;
  void kill_all(std::chrono::milliseconds timeout) override { kill_groups(groups_, tracker(), timeout); }
  Usage look(Depth depth, Facts& facts) const override;
  std::vector<std::chrono::nanoseconds> time_per_cpu() const override;
  Limits read_limits() const override;
  UniqueFd watch_oom() const override;
  short oom_poll_events() const override;
  std::string memory_group() const override;
  bool exists() const override;
  void remove() override;
  std::string freezer_directory() const override;
  std::vector<DelegatedGroup> delegated() const override;
  std::map<std::string, std::string> places() const override;
  std::vector<std::string> directories() const override;

 private:
  Group* find(std::string_view controller) const;
  Group& need(std::string_view controller, std::string_view key) const;
  Group* find_io() const;
  Group* find_freezer() const;
  Group& need_freezer() const;
  Group& tracker() const;

  std::vector<std::unique_ptr<Group>> groups_;
  Freshness freshness_ = Freshness::used;
};

void GroupSet::create() {
  size_t made = 0;
  try {
    for (; made < groups_.size(); ++made) groups_[made]->create();
  } catch (Error& error) {
    while (made-- > 0) {
      try {
        groups_[made]->remove(100ms);
      } catch (const Error& second) {
        error.also(second.message());
      }
    }
    throw;
  }
  freshness_ = Freshness::fresh;
}

std::vector<std::string> GroupSet::apply(const Limits& limits) {
  std::vector<std::string> warnings;
  const bool wants_cpu = limits.cpu.weight != kDefaultWeight || limits.cpu.cap_percent != 0;
  const bool wants_cpus = limits.cpu.count || !limits.cpu.pin.empty();
  const bool wants_memory = limits.memory != MemoryLimits{};

  if (wants_cpu) need("cpu", limits.cpu.cap_percent != 0 ? "cpu.cap" : "cpu.weight");
  if (wants_cpus) need("cpuset", limits.cpu.count ? "cpu.count" : "cpu.pin");
  if (!limits.cpu.nodes.empty()) need("cpuset", "cpu.nodes");
  if (wants_memory) need("memory", limits.memory.limit ? "memory.limit" : "[memory]");
  if (limits.pids) need("pids", "pids.limit");

  if (Group* group = find("cpu")) group->write_cpu(limits.cpu, freshness_, warnings);
  if (Group* group = find("cpuset")) {
    const CpuSet cpus =
        wants_cpus ? choose_cpus(limits.cpu, group->available_cpus(), group->number()) : CpuSet{};
    group->write_cpuset(cpus, limits.cpu.nodes, freshness_);
  }
  if (Group* group = find("memory")) group->write_memory(limits.memory, freshness_, warnings);
  if (Group* group = find("pids")) group->write_pids(limits.pids, freshness_);
  if (Group* group = find_io())
    group->write_io(limits.io, freshness_, warnings);
  else if (!io_keys(limits.io).empty())
    warnings.push_back(without_effect(io_keys(limits.io)) +
                       ": this host has no cgroup controller 'io' or 'blkio' (CONFIG_BLK_CGROUP is off)");
  freshness_ = Freshness::used;
  return warnings;
}

// v1's controller where there is one: it is checked before and after, and needs no eBPF.
void GroupSet::restrict_devices(const std::vector<DeviceRule>& rules) {
  Group* chosen = nullptr;
  for (const auto& group : groups_)
    if (group->can_restrict_devices() && (!chosen || !group->is_v2())) chosen = group.get();
  if (!chosen)
    throw Error(
        "restrict the container's devices: this host has neither the cgroup v1 'devices' controller nor "
        "cgroup v2")
        .hint("mount one of them: mount -t cgroup2 cgroup2 /sys/fs/cgroup");
  chosen->restrict_devices(rules);
}

void GroupSet::delegate(uid_t uid, gid_t gid) {
  for (const auto& group : groups_) group->delegate(uid, gid);
}

CgroupEntry GroupSet::open_entry() const {
  CgroupEntry entry;
  for (const auto& group : groups_) group->open_entry(entry);
  return entry;
}

void GroupSet::enter_self() const {
  for (const auto& group : groups_) group->enter_self();
}

void GroupSet::remove_entry_of(pid_t process) const {
  for (const auto& group : groups_) group->remove_entry_of(process);
}

Group& GroupSet::need_freezer() const {
  Group* const found = find_freezer();
  if (!found && !exists()) throw Error("freeze a container: its cgroup is gone, as it just ended");
  if (!found)
    throw Error(
        "freeze a container: this host has neither cgroup v2's freezer (Linux 5.2) nor v1's 'freezer' "
        "controller");
  return *found;
}

void GroupSet::freeze() {
  Group& group = need_freezer();
  const auto end = Clock::now() + 10s;
  group.write_frozen(true);
  for (auto pause = 100us; !group.is_frozen(); pause = std::min(pause * 2, std::chrono::microseconds(20ms))) {
    if (Clock::now() >= end) {
      group.write_frozen(false);
      throw Error(fmt::format("freeze cgroup '{}': not all processes stopped within 10 s", group.directory()))
          .hint("a process waits for a disk or a network file system; it runs on");
    }
    std::this_thread::sleep_for(pause);
    group.write_frozen(true);  // v1 forgets processes that were made meanwhile
  }
}

void GroupSet::begin_freeze() { need_freezer().write_frozen(true); }

// A container that ends takes its groups away at any moment: there is nothing left to thaw then.
void GroupSet::thaw() {
  Group* const group = find_freezer();
  if (!group) return;
  try {
    group->write_frozen(false);
  } catch (const Error&) {
    if (group->exists()) throw;
  }
}

bool GroupSet::is_asked_to_freeze() const {
  const Group* const group = find_freezer();
  return group && group->is_asked_to_freeze();
}

bool GroupSet::is_frozen() const {
  const Group* const group = find_freezer();
  return group && group->is_frozen();
}

void GroupSet::lift_io_limits() {
  if (Group* group = find_io()) group->lift_io();
}

Usage GroupSet::look(Depth depth, Facts& facts) const {
  Usage usage;
  std::vector<std::pair<const Group*, GroupFiles>> read;
  const Group* const cpuacct = find("cpuacct");
  uint64_t cpuacct_life = 0;
  for (const auto& group : groups_) {
    if (!group->is_counting() && (cpuacct || !group->is_v2())) continue;  // v2 counts CPU time in any group
    GroupFiles& files = read.emplace_back(group.get(), group->directory()).second;
    group->add_usage(files, usage);
    if (group.get() == cpuacct) cpuacct_life = files.life();
  }
  // v2's own count of the same stands in only on hosts without cpuacct: not where that group just went.
  if (cpuacct && cpuacct_life != usage.life.cpu) {
    usage.cpu_time = std::chrono::nanoseconds(0);
    usage.life.cpu = 0;
  }
  if (depth == Depth::usage) return usage;
  add_usage_facts(usage, facts);
  if (depth == Depth::all) add_limit_facts(read_limits(), facts);
  for (auto& [group, files] : read)
    depth == Depth::all ? add_group_facts(*group, files, facts)
                        : add_lasting_group_facts(*group, files, facts);
  return usage;
}

std::vector<std::chrono::nanoseconds> GroupSet::time_per_cpu() const {
  std::vector<std::chrono::nanoseconds> times;
  if (const Group* group = find("cpuacct"))
    for (const std::string& word :
         split_words(read_control(group->file("cpuacct.usage_percpu")).value_or("")))
      times.emplace_back(parse_unsigned(word).value_or(0));
  return times;
}

Limits GroupSet::read_limits() const {
  Limits limits;
  for (const auto& group : groups_) group->read_limits(limits);
  if (const Group* group = find_io()) limits.io = group->read_io();
  return limits;
}

UniqueFd GroupSet::watch_oom() const {
  const Group* group = find("memory");
  return group ? group->watch_oom() : UniqueFd();
}

short GroupSet::oom_poll_events() const {
  const Group* group = find("memory");
  return group ? group->oom_poll_events() : short{0};
}

std::string GroupSet::memory_group() const {
  const Group* group = find("memory");
  return group ? group->path_in_hierarchy() : "";
}

bool GroupSet::exists() const {
  return std::any_of(groups_.begin(), groups_.end(), [](const auto& group) { return group->exists(); });
}

void GroupSet::remove() {
  const auto end = Clock::now() + 1s;
  for (const auto& group : groups_)
    group->remove(std::max(0ms, std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now())));
}

std::string GroupSet::freezer_directory() const {
  const Group* const group = find_freezer();
  return group ? group->directory() : "";
}

std::vector<DelegatedGroup> GroupSet::delegated() const {
  std::vector<DelegatedGroup> delegated;
  for (const auto& group : groups_) {
    if (group->is_v2()) delegated.push_back({"", group->directory()});
    if (group->has("name=systemd")) delegated.push_back({"name=systemd", group->directory()});
  }
  return delegated;
}

std::map<std::string, std::string> GroupSet::places() const {
  std::map<std::string, std::string> places;
  for (const auto& group : groups_)
    places.emplace(group->is_v2() ? "" : group->first_controller(), group->path_in_hierarchy());
  return places;
}

std::vector<std::string> GroupSet::directories() const {
  std::vector<std::string> directories;
  for (const auto& group : groups_) directories.push_back(group->directory());
  return directories;
}

Group* GroupSet::find(std::string_view controller) const {
  for (const auto& group : groups_)
    if (group->has(controller)) return group.get();
  return nullptr;
}

Group& GroupSet::need(std::string_view controller, std::string_view key) const {
  if (Group* group = find(controller)) return *group;
  throw Error(fmt::format("set {}: this host has no cgroup controller '{}'", key, controller))
      .hint("'holm check' lists what this host can do");
}

Group* GroupSet::find_io() const {
  for (const auto& group : groups_)
    if (group->has_io()) return group.get();
  return nullptr;
}

// v2's freezer first: processes that it holds can still be killed and traced. None where the host has none,
// or the container's groups are gone.
Group* GroupSet::find_freezer() const {
  for (const auto& group : groups_)
    if (group->is_v2() && group->can_freeze()) return group.get();
  return find("freezer");
}

// The hierarchy that is asked for the container's processes: one that the payload cannot move them out of.
Group& GroupSet::tracker() const {
  for (const auto& group : groups_)
    if (group->is_v2()) return *group;
  for (const char* controller : {"pids", "freezer", "memory"})
    if (Group* group = find(controller)) return *group;
  return *groups_.front();
}

}  // namespace

Usage Cgroup::usage() const {
  Facts nothing;
  return look(Depth::usage, nothing);
}

std::unique_ptr<Cgroup> make_cgroup(const CgroupLayout& layout, const std::string& parent_name,
                                    uint32_t number) {
  if (layout.hierarchies.empty())
    throw Error("make a container's cgroup: this host has no cgroup hierarchy mounted");
  std::vector<std::unique_ptr<Group>> groups;
  for (const CgroupLayout::Hierarchy& hierarchy : layout.hierarchies)
    groups.push_back(hierarchy.is_v2 ? make_group_v2(layout, hierarchy, parent_name, number)
                                     : make_group_v1(layout, hierarchy, parent_name, number));
  return std::make_unique<GroupSet>(std::move(groups));
}

std::vector<std::string> parent_directories(const CgroupLayout& layout, const std::string& parent_name) {
  std::vector<std::string> directories;
  for (const CgroupLayout::Hierarchy& hierarchy : layout.hierarchies)
    directories.push_back(parent_directory(layout, hierarchy, parent_name));
  return directories;
}

std::vector<uint32_t> cgroup_numbers(const CgroupLayout& layout, const std::string& parent_name) {
  std::set<uint32_t> numbers;
  for (const std::string& parent : parent_directories(layout, parent_name)) {
    for (const std::string& name : list_directory(parent)) {
      const auto number = parse_unsigned(name);
      if (number && *number <= std::numeric_limits<uint32_t>::max())
        numbers.insert(static_cast<uint32_t>(*number));
    }
  }
  return {numbers.begin(), numbers.end()};
}

void remove_empty_parents(const CgroupLayout& layout, const std::string& parent_name) {
  const bool has_scope = layout.manager == CgroupLayout::Manager::systemd;
  for (const CgroupLayout::Hierarchy& hierarchy : layout.hierarchies) {
    if (has_scope && is_used_by_systemd(hierarchy)) continue;
    auto levels = levels_below(hierarchy.mount_point, parent_directory(layout, hierarchy, parent_name));
    for (; !levels.empty(); levels.pop_back())
      // Busy: another container is in it.
      if (::rmdir(levels.back().c_str()) != 0 && errno != ENOENT && errno != EBUSY && errno != ENOTEMPTY)
        throw Error::system(fmt::format("remove cgroup '{}'", levels.back()));
  }
}

}  // namespace holm::quotas
