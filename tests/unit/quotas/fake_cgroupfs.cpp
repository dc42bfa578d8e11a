#include "tests/unit/quotas/fake_cgroupfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "base/error.h"

namespace holm::test {
namespace {

using Files = std::vector<std::pair<std::string, std::string>>;  // name, the kernel's first content

const std::map<std::string, Files> kV1Files = {
    {"cpu",
     {{"cpu.shares", "1024\n"},
      {"cpu.cfs_quota_us", "-1\n"},
      {"cpu.cfs_period_us", "100000\n"},
      {"cpu.cfs_burst_us", "0\n"}}},
    {"cpuacct", {{"cpuacct.usage", "0\n"}}},
    {"cpuset", {{"cpuset.cpus", "\n"}, {"cpuset.mems", "\n"}, {"cpuset.effective_cpus", "0-3\n"}}},
    {"memory",
     {{"memory.limit_in_bytes", "9223372036854771712\n"},
      {"memory.memsw.limit_in_bytes", "9223372036854771712\n"},
      {"memory.soft_limit_in_bytes", "9223372036854771712\n"},
      {"memory.usage_in_bytes", "0\n"},
      {"memory.max_usage_in_bytes", "0\n"},
      {"memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"},
      {"memory.use_hierarchy", "1\n"},
      {"cgroup.event_control", ""}}},
    {"devices", {{"devices.allow", ""}, {"devices.deny", ""}, {"devices.list", "a *:* rwm\n"}}},
    {"freezer", {{"freezer.state", "THAWED\n"}}},
    {"pids", {{"pids.max", "max\n"}, {"pids.current", "0\n"}}},
    {"blkio",
     {{"blkio.bfq.weight", "100\n"},
      {"blkio.throttle.read_bps_device", ""},
      {"blkio.throttle.write_bps_device", ""},
      {"blkio.throttle.read_iops_device", ""},
      {"blkio.throttle.write_iops_device", ""}}},
};

const std::map<std::string, Files> kV2Files = {
    {"cpu", {{"cpu.weight", "100\n"}, {"cpu.max", "max 100000\n"}, {"cpu.max.burst", "0\n"}}},
    {"cpuset",
     {{"cpuset.cpus", "\n"},
      {"cpuset.cpus.effective", "0-3\n"},
      {"cpuset.mems", "\n"},
      {"cpuset.mems.effective", "0-1\n"}}},
    {"memory",
     {{"memory.min", "0\n"},
      {"memory.high", "max\n"},
      {"memory.max", "max\n"},
      {"memory.swap.max", "max\n"},
      {"memory.current", "0\n"},
      {"memory.peak", "0\n"},
      {"memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"}}},
    {"pids", {{"pids.max", "max\n"}, {"pids.current", "0\n"}}},
    {"io",
     {{"io.max", ""}, {"io.stat", ""}, {"io.weight", "default 100\n"}, {"io.bfq.weight", "default 100\n"}}},
};

const Files kEveryV1 = {{"tasks", ""}, {"cgroup.procs", ""}, {"notify_on_release", "0\n"}};
const Files kEveryV2 = {
    {"cgroup.procs", ""},        {"cgroup.threads", ""},        {"cgroup.subtree_control", "\n"},
    {"cgroup.freeze", "0\n"},    {"cgroup.kill", ""},           {"cgroup.events", "populated 0\nfrozen 0\n"},
    {"cgroup.type", "domain\n"}, {"cpu.stat", "usage_usec 0\n"}};

const FakeCgroupfs* current = nullptr;

bool is_below(const std::string& path) { return current && path.starts_with(current->root() + "/"); }

std::string absolute(int directory, const char* name) {
  if (name[0] == '/' || directory == AT_FDCWD) return name;
  char link[PATH_MAX];
  const ssize_t size = ::readlink(("/proc/self/fd/" + std::to_string(directory)).c_str(), link, sizeof link);
  return size < 0 ? name : std::string(link, static_cast<size_t>(size)) + "/" + name;
}

int make_group(int directory, const char* name, mode_t mode) {
  const int result = static_cast<int>(::syscall(SYS_mkdirat, directory, name, mode));
  const std::string path = absolute(directory, name);
  if (result == 0 && is_below(path)) current->fill(path);
  return result;
}

// As the kernel: busy where there are processes or nested groups, else gone with its files.
int remove_group(int directory, const char* name) {
  const std::string path = absolute(directory, name);
  if (is_below(path)) {
    if (read_file_if_exists(path + "/cgroup.procs").value_or("") != "") {
      errno = EBUSY;
      return -1;
    }
    for (const std::string& file : list_directory(path)) {
      struct stat status = {};
      if (::lstat((path + "/" + file).c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
        errno = EBUSY;
        return -1;
      }
    }
    for (const std::string& file : list_directory(path)) ::unlink((path + "/" + file).c_str());
  }
  return static_cast<int>(::syscall(SYS_unlinkat, directory, name, AT_REMOVEDIR));
}

}  // namespace

FakeCgroupfs::FakeCgroupfs(quotas::CgroupLayout::Kind kind) {
  using Kind = quotas::CgroupLayout::Kind;
  layout_.kind = kind;
  if (kind != Kind::v2) {
    add_v1("cpu", {"cpu", "cpuacct"});
    for (const char* name : {"cpuset", "memory", "devices", "freezer", "blkio", "pids"}) add_v1(name, {name});
    add_v1("systemd", {"name=systemd"});
  }
  if (kind == Kind::v2) add_v2({"cpuset", "cpu", "io", "memory", "hugetlb", "pids"});
  if (kind == Kind::hybrid) add_v2({"hugetlb"});
  current = this;
}

FakeCgroupfs::~FakeCgroupfs() {
  if (current == this) current = nullptr;
}

void FakeCgroupfs::add_v1(const std::string& name, const std::vector<std::string>& controllers) {
  layout_.hierarchies.push_back({path(name), controllers, false, "/"});
  ::mkdir(path(name).c_str(), 0755);
  fill(path(name));
  if (name != "cpuset") return;
  write("cpuset/cpuset.cpus", "0-3\n");
  write("cpuset/cpuset.mems", "0-1\n");
}

void FakeCgroupfs::add_v2(const std::vector<std::string>& controllers) {
  layout_.hierarchies.push_back({path("unified"), controllers, true, "/"});
  ::mkdir(path("unified").c_str(), 0755);
  fill(path("unified"));
}

void FakeCgroupfs::without_controller(const std::string& name) {
  for (auto& hierarchy : layout_.hierarchies) std::erase(hierarchy.controllers, name);
  std::erase_if(layout_.hierarchies, [](const auto& hierarchy) { return hierarchy.controllers.empty(); });
}

void FakeCgroupfs::write(const std::string& name, const std::string& content) const {
  std::ofstream(path(name), std::ios::trunc) << content;
}

void FakeCgroupfs::fill(const std::string& directory) const {
  const auto has = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  const auto make = [&](const Files& files) {
    for (const auto& [name, content] : files) {
      if (has(left_out_, name)) continue;
      const std::string path = directory + "/" + name;
      if (!has(ignoring_, name))
        std::ofstream(path) << content;
      else if (::symlink("/dev/null", path.c_str()) != 0)
        throw Error::system("make a link to /dev/null");
    }
  };
  for (const auto& hierarchy : layout_.hierarchies) {
    if (!(directory + "/").starts_with(hierarchy.mount_point + "/")) continue;
    make(hierarchy.is_v2 ? kEveryV2 : kEveryV1);
    const auto& table = hierarchy.is_v2 ? kV2Files : kV1Files;
    for (const std::string& controller : hierarchy.controllers)
      if (const auto found = table.find(controller); found != table.end()) make(found->second);
  }
}

extern "C" {
int mkdir(const char* name, mode_t mode) noexcept { return make_group(AT_FDCWD, name, mode); }
int mkdirat(int directory, const char* name, mode_t mode) noexcept {
  return make_group(directory, name, mode);
}
int rmdir(const char* name) noexcept { return remove_group(AT_FDCWD, name); }
int unlinkat(int directory, const char* name, int flags) noexcept {
  if (flags & AT_REMOVEDIR) return remove_group(directory, name);
  return static_cast<int>(::syscall(SYS_unlinkat, directory, name, flags));
}
}

}  // namespace holm::test
