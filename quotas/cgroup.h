// A container's control groups behind one interface, whatever version the host has.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "quotas/device_rule.h"
#include "quotas/limits.h"

namespace holm::quotas {

struct Facts;

// Where the host keeps its cgroup hierarchies. `root` is a directory so that tests can use a tree of plain
// files.
struct CgroupLayout {
  enum class Kind { v1, v2, hybrid };  // hybrid: v1 controllers beside a v2 hierarchy
  // Who decides where groups may be made. With systemd only below a scope unit that it delegates: it may
  // empty or remove any other (its rule of a single writer, https://systemd.io/CGROUP_DELEGATION).
  enum class Manager { nobody, systemd };
  struct Hierarchy {
    std::string mount_point;  // "/sys/fs/cgroup/cpu,cpuacct"
    std::vector<std::string>
        controllers;  // {"cpu","cpuacct"}; {"name=systemd"}; for v2 those in cgroup.controllers
    bool is_v2 = false;
    std::string own_group;  // this process's group in it: "/", "/system.slice/holm.service"
  };
  Kind kind = Kind::v2;
  Manager manager = Manager::nobody;
  std::vector<Hierarchy> hierarchies;

  // The hierarchy that carries a controller; nothing where the host has it nowhere.
  const Hierarchy* find(std::string_view controller) const;
};

// Reads the texts of /proc/self/mountinfo and /proc/self/cgroup. The controllers of a v2 hierarchy stand in
// neither: they are left empty.
CgroupLayout parse_cgroup_layout(const std::string& mountinfo, const std::string& self_cgroup);
// The same from this host's files, with v2's controllers and the manager, and without hierarchies that
// another mount hides. Throws where the host has no hierarchy mounted.
CgroupLayout detect_cgroup_layout();
// The manager alone.
CgroupLayout::Manager detect_cgroup_manager();

// "v2, in systemd's holm.scope": for people.
std::string describe_layout(const CgroupLayout& layout, const std::string& parent_name);

// The resource keys that this host cannot do, or does only in part, each with the reason: for `holm check`.
std::vector<std::string> missing_features(const CgroupLayout& layout);
// Why io.weight does nothing on a disk, with the cure; empty where it does, where that is not known, and
// where missing_features says it of all disks.
std::string why_weight_has_no_effect(const CgroupLayout& layout, const BlockDevice& disk);

// How a process gets into the groups.
struct CgroupEntry {
  // v2 directory for CLONE_INTO_CGROUP; closed where the host has no v2 hierarchy. A nested group where the
  // payload has enabled controllers for nested groups: the kernel then takes no process in the container's
  // own one.
  UniqueFd v2_directory;
  // v2's cgroup.procs, open for writing: where a clone3 with CLONE_INTO_CGROUP is killed before it runs
  // (Linux 6.14 and later do that where the *caller's* own group was once killed through cgroup.kill), the
  // new process writes "0" here instead. That waits for an RCU grace period.
  UniqueFd v2_procs;
  // v1 `tasks` files, open for writing: the new process writes "0" into each by itself before it does
  // anything else. (A write of another process's pid to cgroup.procs waits for an RCU grace period, 17 ms
  // where measured.)
  std::vector<UniqueFd> v1_tasks;
};

// A directory of a container that its root may make nested groups in.
struct DelegatedGroup {
  std::string hierarchy;  // "" for v2, "name=systemd"
  std::string directory;
};

// What went through one block device. Devices on top of others (LVM, RAID) and those below both count it.
struct DeviceIo {
  std::string device;  // "8:0"
  uint64_t read_bytes = 0;
  uint64_t written_bytes = 0;
  uint64_t reads = 0;
  uint64_t writes = 0;
};

struct Usage {
  std::chrono::nanoseconds cpu_time{0};
  std::chrono::nanoseconds throttled_time{0};  // in which its threads wanted the CPU and cpu.cap forbade it
  std::optional<Bytes> memory;
  std::optional<Bytes> memory_peak;
  std::optional<uint64_t> pids;
  uint64_t oom_kills = 0;
  std::vector<DeviceIo> io;
  // The groups that these counters began with at 0, as a number that no later group has until the host is
  // booted again; 0 where nothing was read.
  struct {
    uint64_t cpu = 0, throttled = 0, memory = 0, io = 0;
  } life;
};

// The groups of one container, made below `parent_name` ("holm" or "holm-1a2b"; "machine.slice/holm.scope"
// under systemd, which must stand: systemd_scope.h) in each hierarchy that is used. Only the host's root owns
// the limit files; `delegate` hands the rest to the container's root.
class Cgroup {
 public:
  virtual ~Cgroup() = default;

  // Makes the groups; fails with EEXIST where they exist and hold processes. Empty ones that a crash left are
  // made anew. A failure leaves none that this call made.
  virtual void create() = 0;
  // Writes all limits and reads each back; returns warnings (clamped weights, controllers that the host
  // lacks). A CPU, memory or pids value that the kernel did not take is an Error, one of disk I/O a warning.
  // A limit below what is held never kills: it is an Error that says what is held. Freeze a container whose
  // memory.limit gets lower: on v2 the kernel kills where it grows between the look at what it holds and the
  // write.
  virtual std::vector<std::string> apply(const Limits& limits) = 0;
  // Denies every device but the rules'; in force when it returns. Rules given earlier no longer hold.
  virtual void restrict_devices(const std::vector<DeviceRule>& rules) = 0;
  // Hands the directories and the delegatable files (cgroup.procs, cgroup.threads, cgroup.subtree_control,
  // tasks of name=systemd) to the container's root; never limit files, release_agent or notify_on_release.
  virtual void delegate(uid_t uid, gid_t gid) = 0;
  virtual CgroupEntry open_entry() const = 0;
  // Moves the calling process (single-threaded) in, while the container's processes stand still. On v2 that
  // waits for an RCU grace period: clone3 with CLONE_INTO_CGROUP is faster. A frozen container would freeze
  // the caller. Where only a nested group takes processes it is a new one, as the payload may have set others
  // to anything.
  virtual void enter_self() const = 0;
  // Takes that group away when such a process of this pid has ended.
  virtual void remove_entry_of(pid_t process) const = 0;

  virtual void freeze() = 0;        // returns when frozen; throws when that takes longer than 10 s
  virtual void begin_freeze() = 0;  // asks for it alone
  // A container that ended meanwhile is not frozen, and thawing it is no error.
  virtual void thaw() = 0;
  virtual bool is_asked_to_freeze() const = 0;  // by whomever, and not to thaw since
  virtual bool is_frozen() const = 0;

  // Host pids of all processes, nested groups included.
  virtual std::vector<pid_t> processes() const = 0;
  // Lets all disk I/O that waits for its turn go on: a process that waits for it does not even die before.
  virtual void lift_io_limits() = 0;
  // SIGKILL to all, in nested groups too, thawing what is frozen; returns when none is left or throws after
  // `timeout`. Call create() again before a process enters: Linux 6.14 and later kill whatever is cloned into
  // a group that cgroup.kill was written to.
  virtual void kill_all(std::chrono::milliseconds timeout) = 0;
  // What the kernel holds now, read from its files: all of one hierarchy is of the same life of its group.
  Usage usage() const;
  // The same, and what the files tell for counters: of that, peaks and refusals alone, or all with limits and
  // what is only now.
  enum class Depth { usage, lasting, all };
  virtual Usage look(Depth depth, Facts& facts) const = 0;
  // CPU time by CPU number; empty where the kernel does not tell (cgroup v2).
  virtual std::vector<std::chrono::nanoseconds> time_per_cpu() const = 0;
  // The limits as the kernel has them, for read-back and `inspect`. `cpu.pin` is what cpuset.cpus allows
  // (empty where it is all), whether it came from pin or count; a weight is exact up to rounding.
  // `io.devices` are those that have a rate, by number only.
  virtual Limits read_limits() const = 0;
  // A descriptor that poll(2) reports at an OOM, with oom_poll_events(): an eventfd on v1, memory.events on
  // v2 (a poll for POLLIN would always return there); closed if none. Read it (v2: from offset 0) before the
  // next poll. It may fire before the kill has been counted, at other memory events and when the group is
  // removed: compare usage().oom_kills.
  virtual UniqueFd watch_oom() const = 0;
  virtual short oom_poll_events() const = 0;  // POLLIN (v1) or POLLPRI (v2, POLLERR comes along)
  // The path of the group that memory is counted in, as the kernel's log has it: "/holm/7".
  virtual std::string memory_group() const = 0;

  virtual bool exists() const = 0;
  // Removes the groups with all nested ones; nothing to do where they are gone. Retries EBUSY for up to a
  // second.
  virtual void remove() = 0;
  // The directory whose freezer stops the container: of v1's controller or of v2. Empty where the host has
  // none.
  virtual std::string freezer_directory() const = 0;
  // Those directories that `delegate` handed out.
  virtual std::vector<DelegatedGroup> delegated() const = 0;
  // Where the container stands in each hierarchy, by the hierarchy's first controller ("" for v2): "/holm/7".
  virtual std::map<std::string, std::string> places() const = 0;
  // All directories of this container, one per hierarchy; for messages, tests and gc.
  virtual std::vector<std::string> directories() const = 0;
};

// The cgroup of container `number`. Never touches a group outside `parent_name` below the groups it was
// given.
std::unique_ptr<Cgroup> make_cgroup(const CgroupLayout& layout, const std::string& parent_name,
                                    uint32_t number);

// The directories below which the containers' groups stand, one per hierarchy: "/sys/fs/cgroup/holm".
std::vector<std::string> parent_directories(const CgroupLayout& layout, const std::string& parent_name);

// Numbers of containers that have a group below `parent_name`, in any hierarchy (for gc).
std::vector<uint32_t> cgroup_numbers(const CgroupLayout& layout, const std::string& parent_name);
// Removes the parent groups where they are empty; those that are systemd's are left to it.
void remove_empty_parents(const CgroupLayout& layout, const std::string& parent_name);

}  // namespace holm::quotas
