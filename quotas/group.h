// One group of a container: its directory in one hierarchy. A container's Cgroup is a set of these, so that a
// host may have each controller on v1 or on v2. Not for other folders.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "quotas/cgroup.h"

namespace holm::quotas {

// The directory of the parent group in a hierarchy.
std::string parent_directory(const CgroupLayout& layout, const CgroupLayout::Hierarchy& hierarchy,
                             const std::string& parent_name);
// "/a", "/a/b/c" -> "/a/b", "/a/b/c".
std::vector<std::string> levels_below(const std::string& base, const std::string& directory);

// Whether limits that are not asked for must be written too: a new group has the kernel's defaults already.
enum class Freshness { fresh, used };

// A CPU cap is time in each period of this length.
inline constexpr uint64_t kPeriodMicroseconds = 100'000;
constexpr uint64_t microseconds_of(uint32_t percent_of_one_cpu) {
  return percent_of_one_cpu * kPeriodMicroseconds / 100;
}

constexpr uint32_t percent_of(uint64_t microseconds) {
  return static_cast<uint32_t>(microseconds * 100 / kPeriodMicroseconds);
}

class GroupFiles;

class Group {
 public:
  Group(const CgroupLayout& layout, const CgroupLayout::Hierarchy& hierarchy, const std::string& parent_name,
        uint32_t number);
  virtual ~Group() = default;

  const std::string& directory() const { return directory_; }
  uint32_t number() const { return number_; }
  std::string file(std::string_view name) const;
  std::string path_in_hierarchy() const { return directory_.substr(base_.size()); }
  bool has(std::string_view controller) const;
  std::string first_controller() const { return controllers_.empty() ? "" : controllers_.front(); }
  bool exists() const;

  // Makes the directory, and its parent if need be, so that limits can be written and processes can join.
  void create();
  // Removes it with all nested groups; nothing to do where it is gone.
  void remove(std::chrono::milliseconds patience);

  // Where new processes of the container go.
  virtual bool is_v2() const = 0;
  virtual void open_entry(CgroupEntry& entry) const = 0;
  virtual void enter_self() const = 0;
  virtual void remove_entry_of(pid_t) const {}
  virtual void delegate(uid_t uid, gid_t gid) = 0;

  // Each throws where the kernel does not take the value. Only for controllers that the group has.
  virtual void write_cpu(const CpuLimits& limits, Freshness freshness,
                         std::vector<std::string>& warnings) = 0;
  virtual void write_memory(const MemoryLimits& limits, Freshness freshness,
                            std::vector<std::string>& warnings) = 0;
  // None: any.
  virtual void write_cpuset(const CpuSet& cpus, const CpuSet& nodes, Freshness freshness) = 0;
  void write_pids(std::optional<uint64_t> limit, Freshness freshness);  // the same file in both versions
  // Disk I/O: 'io' on v2, 'blkio' on v1. What the kernel does not take is a warning.
  bool has_io() const { return has("io") || has("blkio"); }
  void write_io(const IoLimits& limits, Freshness freshness, std::vector<std::string>& warnings);
  void lift_io();
  IoLimits read_io() const;
  // What the hierarchy lets its groups use.
  virtual CpuSet available_cpus() const = 0;
  virtual void read_limits(Limits& limits) const = 0;
  // Whether it has a controller that tells what is used.
  bool is_counting() const;
  virtual void add_usage(GroupFiles& files, Usage& usage) const = 0;
  virtual UniqueFd watch_oom() const = 0;
  virtual short oom_poll_events() const = 0;

  virtual bool can_restrict_devices() const = 0;
  virtual void restrict_devices(const std::vector<DeviceRule>& rules) = 0;

  virtual bool can_freeze() const = 0;
  virtual void write_frozen(bool frozen) = 0;  // asks for it; is_frozen() tells when it is so
  virtual bool is_asked_to_freeze() const = 0;
  virtual bool is_frozen() const = 0;
  // Kills all processes, nested groups included, by the kernel itself; false where it cannot.
  virtual bool kill_at_once() = 0;

 protected:
  // The kernel refuses a burst above the quota, also for the moment between two writes: forget_burst comes
  // before the quota changes, write_burst after it. `path`: the file, which old kernels lack.
  void forget_burst(const std::string& path, Freshness freshness);
  void write_burst(const std::string& path, const CpuLimits& limits, std::vector<std::string>& warnings);

  // The parent is the group of a unit of systemd, which made it and whose limits are systemd's to write.
  bool is_in_scope() const { return manager_ == CgroupLayout::Manager::systemd; }

  // What groups need beyond mkdir(2): a new parent, before it has nested groups, and then the group itself.
  virtual void prepare_parent() = 0;
  virtual void prepare() = 0;
  // Gives back what the parent held for the group.
  virtual void forget() {}

  // The directories from below the base down to the parent, outermost first.
  std::vector<std::string> levels() const { return levels_below(base_, parent_); }

  std::string base_;       // the top of the hierarchy
  std::string parent_;     // BASE/holm, BASE/machine.slice/holm.scope
  std::string directory_;  // BASE/holm/7
  uint32_t number_;
  std::vector<std::string> controllers_;

 private:
  void make_parent();
  void check_pids(uint64_t limit, const std::string& before);

  CgroupLayout::Manager manager_;
};

// The entry of a device, which is made if need be.
DeviceIo& device_io(Usage& usage, std::string_view device);

std::unique_ptr<Group> make_group_v1(const CgroupLayout& layout, const CgroupLayout::Hierarchy& hierarchy,
                                     const std::string& parent_name, uint32_t number);
std::unique_ptr<Group> make_group_v2(const CgroupLayout& layout, const CgroupLayout::Hierarchy& hierarchy,
                                     const std::string& parent_name, uint32_t number);

}  // namespace holm::quotas
