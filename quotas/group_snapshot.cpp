#include "quotas/group_snapshot.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/group_tree.h"

namespace holm::quotas {
namespace {

// What a group's owner may set in nested groups, in the order in which it must be written: a group's kind and
// its CPUs before limits, limits that hold the others up first. Left out: what acts once (cgroup.kill,
// memory.reclaim), pressure triggers, and the freezer, as CRIU needs the processes to run.
constexpr std::array<std::string_view, 20> kValues = {
    "cgroup.type",   "cgroup.max.depth", "cgroup.max.descendants",
    "cpuset.cpus",   "cpuset.mems",      "cpuset.cpus.partition",
    "cpu.weight",    "cpu.idle",         "cpu.max",
    "cpu.max.burst", "cpu.uclamp.min",   "cpu.uclamp.max",
    "memory.min",    "memory.low",       "memory.high",
    "memory.max",    "memory.swap.max",  "memory.oom.group",
    "pids.max",      "io.weight"};
constexpr std::array<std::string_view, 3> kDelegatedFiles = {"cgroup.procs", "cgroup.threads",
                                                             "cgroup.subtree_control"};
constexpr size_t kMaxValue = 4096;
constexpr size_t kMaxPath = 3000;

std::string read_value(int group, std::string_view name) {
  const UniqueFd fd(::openat(group, std::string(name).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return "";
  std::string text;
  ignore_errors(
      [&] { text = trim(read_fd(fd.get(), name, kMaxValue)); });  // not every group can be asked everything
  return text;
}

uint32_t inner_id(uint32_t id, uint32_t first_id) { return id >= first_id ? id - first_id : 0; }

SavedGroup save_group(int group, const std::string& path, bool is_v2, uint32_t first_id) {
  const struct stat status = sys::stat_fd(group, path);
  SavedGroup saved{path, inner_id(status.st_uid, first_id), inner_id(status.st_gid, first_id), {}};
  if (!is_v2) return saved;
  if (!path.empty())  // the container's own limits are Holm's
    for (const std::string_view name : kValues)
      if (std::string value = read_value(group, name); !value.empty())
        saved.values.emplace(name, std::move(value));
  if (std::string enabled = read_value(group, "cgroup.subtree_control"); !enabled.empty())
    saved.values.emplace("cgroup.subtree_control", std::move(enabled));
  return saved;
}

void check_path(const std::string& path) {
  const auto parts = split(path, '/');
  const bool is_clean = std::ranges::none_of(parts, [](const std::string& part) {
    return part.empty() || part == "." || part == ".." || part.find('\0') != std::string::npos ||
           part.size() > 255;
  });
  if (!is_clean || path.size() > kMaxPath)
    throw Error(fmt::format("'{}' is no place below the container's cgroup", printable(path.substr(0, 200))));
}

UniqueFd open_group_below(int base, const std::string& path) {
  return sys::open_confined(base, path, O_RDONLY | O_DIRECTORY, sys::Confine::beneath);
}

void make_group(int base, const SavedGroup& group, bool is_v2, uint32_t first_id) {
  check_path(group.path);
  const size_t slash = group.path.rfind('/');
  const UniqueFd parent =
      slash == std::string::npos ? sys::duplicate(base) : open_group_below(base, group.path.substr(0, slash));
  const std::string name = slash == std::string::npos ? group.path : group.path.substr(slash + 1);
  if (::mkdirat(parent.get(), name.c_str(), 0755) != 0 && errno != EEXIST)
    throw Error::system(fmt::format("make cgroup '{}' of the container", printable(group.path)));
  const UniqueFd directory = open_group_below(base, group.path);
  if (group.uid >= 65536 || group.gid >= 65536)
    throw Error(fmt::format("cgroup '{}' has an owner that no container has", printable(group.path)));
  const uid_t uid = first_id + group.uid;
  const gid_t gid = first_id + group.gid;
  sys::chown_fd(directory.get(), uid, gid, group.path);
  if (is_v2) {
    for (const std::string_view file : kDelegatedFiles)
      if (::fchownat(directory.get(), std::string(file).c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) != 0 &&
          errno != ENOENT)
        throw Error::system(
            fmt::format("give '{}' of cgroup '{}' to the container", file, printable(group.path)));
  } else {
    for (const char* file : {"tasks", "cgroup.procs"})
      if (::fchownat(directory.get(), file, uid, gid, AT_SYMLINK_NOFOLLOW) != 0)
        throw Error::system(
            fmt::format("give '{}' of cgroup '{}' to the container", file, printable(group.path)));
  }
}

// False where the kernel does not take it.
bool write_value(int group, std::string_view name, const std::string& value) {
  const UniqueFd fd(::openat(group, std::string(name).c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
  return fd && ::write(fd.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

// "cpu memory" -> "+cpu +memory".
std::string enabling(const std::string& controllers) {
  std::string text;
  for (const std::string& name : split_words(controllers)) text += (text.empty() ? "+" : " +") + name;
  return text;
}

void write_values(int directory, const SavedGroup& group, std::vector<std::string>& refused) {
  for (const std::string_view name : kValues) {
    const auto value = group.values.find(std::string(name));
    if (value == group.values.end() || read_value(directory, name) == value->second) continue;
    if (!write_value(directory, name, value->second))
      refused.push_back(fmt::format("{} of '{}'", name, printable(group.path)));
  }
  if (const auto enabled = group.values.find("cgroup.subtree_control"); enabled != group.values.end())
    if (!write_value(directory, "cgroup.subtree_control", enabling(enabled->second)))
      refused.push_back(fmt::format("cgroup.subtree_control of '{}'", printable(group.path)));
}

const DelegatedGroup* find_hierarchy(const std::vector<DelegatedGroup>& groups, const std::string& name) {
  const auto found = std::ranges::find_if(groups, [&](const auto& group) { return group.hierarchy == name; });
  return found == groups.end() ? nullptr : &*found;
}

}  // namespace

std::vector<SavedHierarchy> save_groups(const Cgroup& cgroup, uint32_t first_id) {
  std::vector<SavedHierarchy> saved;
  for (const DelegatedGroup& own : cgroup.delegated()) {
    SavedHierarchy hierarchy{own.hierarchy, {}};
    visit_tree(own.directory, [&](int group) {
      const std::string place = sys::read_link(fmt::format("/proc/self/fd/{}", group));
      const std::string path =
          place.size() > own.directory.size() ? place.substr(own.directory.size() + 1) : "";
      if (hierarchy.groups.size() >= kMaxSavedGroups)
        throw Error(fmt::format("the container has more than {} cgroups", kMaxSavedGroups));
      hierarchy.groups.push_back(save_group(group, path, own.hierarchy.empty(), first_id));
    });
    std::ranges::sort(hierarchy.groups, {}, &SavedGroup::path);
    saved.push_back(std::move(hierarchy));
  }
  return saved;
}

void restore_groups(const Cgroup& cgroup, const std::vector<SavedHierarchy>& saved, uint32_t first_id) {
  const auto delegated = cgroup.delegated();
  for (const SavedHierarchy& hierarchy : saved) {
    const DelegatedGroup* own = find_hierarchy(delegated, hierarchy.name);
    if (!own) continue;
    if (hierarchy.groups.size() > kMaxSavedGroups)
      throw Error(fmt::format("the checkpoint has more than {} cgroups", kMaxSavedGroups));
    const UniqueFd base = sys::open(own->directory, O_RDONLY | O_DIRECTORY);
    for (const SavedGroup& group : hierarchy.groups)
      if (!group.path.empty()) make_group(base.get(), group, hierarchy.name.empty(), first_id);
  }
}

std::vector<std::string> restore_group_values(const Cgroup& cgroup,
                                              const std::vector<SavedHierarchy>& saved) {
  std::vector<std::string> refused;
  const auto delegated = cgroup.delegated();
  for (const SavedHierarchy& hierarchy : saved) {
    const DelegatedGroup* own = find_hierarchy(delegated, hierarchy.name);
    if (!own || !hierarchy.name.empty()) continue;
    const UniqueFd base = sys::open(own->directory, O_RDONLY | O_DIRECTORY);
    for (const SavedGroup& group : hierarchy.groups) {
      const UniqueFd directory =
          group.path.empty() ? sys::duplicate(base.get()) : open_group_below(base.get(), group.path);
      write_values(directory.get(), group, refused);
    }
  }
  if (refused.empty()) return {};
  return {fmt::format("the kernel did not take {} of the container's own cgroup settings, the first: {}",
                      refused.size(), refused.front())};
}

}  // namespace holm::quotas
