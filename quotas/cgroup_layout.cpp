// Finds the cgroup hierarchies of the host.
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/cgroup.h"
#include "quotas/mountinfo.h"

namespace holm::quotas {
namespace {

// One line of /proc/self/cgroup: "4:cpu,cpuacct:/group"; v2 is "0::/group".
struct Membership {
  std::vector<std::string> controllers;
  std::string group;
};

std::vector<Membership> parse_memberships(const std::string& self_cgroup) {
  std::vector<Membership> memberships;
  for (const std::string& line : split(self_cgroup, '\n')) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    memberships.push_back({split(line.substr(first + 1, second - first - 1), ','), line.substr(second + 1)});
  }
  return memberships;
}

bool is_mount_of(const MountEntry& mount, const Membership& membership) {
  if (membership.controllers.empty()) return mount.type == "cgroup2";
  return mount.type == "cgroup" &&
         std::all_of(membership.controllers.begin(), membership.controllers.end(),
                     [&](const std::string& name) {
                       return std::find(mount.super_options.begin(), mount.super_options.end(), name) !=
                              mount.super_options.end();
                     });
}

// A hierarchy may be mounted several times, also only a part of it: the mount of the whole is wanted.
const MountEntry* find_mount(const std::vector<MountEntry>& mounts, const Membership& membership) {
  const MountEntry* found = nullptr;
  for (const MountEntry& mount : mounts) {
    if (!is_mount_of(mount, membership)) continue;
    if (mount.root == "/") return &mount;
    if (!found) found = &mount;
  }
  return found;
}

// The group as seen from the mount: where only a part is mounted, paths begin at that part.
std::string group_below(const std::string& root, const std::string& group) {
  if (root == "/" || !group.starts_with(root)) return group;
  const std::string rest = group.substr(root.size());
  if (rest.empty()) return "/";
  return rest.front() == '/' ? rest : group;
}

CgroupLayout::Kind kind_of(const std::vector<CgroupLayout::Hierarchy>& hierarchies) {
  const auto v2_count =
      std::count_if(hierarchies.begin(), hierarchies.end(), [](const auto& h) { return h.is_v2; });
  if (v2_count == 0) return CgroupLayout::Kind::v1;
  return static_cast<size_t>(v2_count) == hierarchies.size() ? CgroupLayout::Kind::v2
                                                             : CgroupLayout::Kind::hybrid;
}

}  // namespace

const CgroupLayout::Hierarchy* CgroupLayout::find(std::string_view controller) const {
  for (const Hierarchy& hierarchy : hierarchies)
    if (std::find(hierarchy.controllers.begin(), hierarchy.controllers.end(), controller) !=
        hierarchy.controllers.end())
      return &hierarchy;
  return nullptr;
}

CgroupLayout parse_cgroup_layout(const std::string& mountinfo, const std::string& self_cgroup) {
  std::vector<MountEntry> mounts;
  for (const std::string& line : split(mountinfo, '\n')) {
    if (line.find(" - cgroup") == std::string::npos) continue;  // there may be thousands of others
    if (auto mount = parse_mount(line)) mounts.push_back(std::move(*mount));
  }

  CgroupLayout layout;
  for (const Membership& membership : parse_memberships(self_cgroup)) {
    const MountEntry* mount = find_mount(mounts, membership);
    if (!mount) continue;
    layout.hierarchies.push_back({mount->point, membership.controllers, membership.controllers.empty(),
                                  group_below(mount->root, membership.group)});
  }
  layout.kind = kind_of(layout.hierarchies);
  return layout;
}

CgroupLayout detect_cgroup_layout() {
  CgroupLayout layout = parse_cgroup_layout(read_file("/proc/self/mountinfo", 16 * kMaxSmallFile),
                                            read_file("/proc/self/cgroup"));
  std::erase_if(layout.hierarchies, [](const CgroupLayout::Hierarchy& hierarchy) {
    return ::access((hierarchy.mount_point + "/cgroup.procs").c_str(), F_OK) != 0;
  });
  if (layout.hierarchies.empty())
    throw Error("find the cgroup hierarchies: none is mounted")
        .hint("mount one: mount -t cgroup2 cgroup2 /sys/fs/cgroup");
  for (auto& hierarchy : layout.hierarchies)
    if (hierarchy.is_v2)
      hierarchy.controllers = split_words(read_file(hierarchy.mount_point + "/cgroup.controllers"));
  layout.kind = kind_of(layout.hierarchies);
  layout.manager = detect_cgroup_manager();
  return layout;
}

// sd_booted(3): the directory is there where systemd is the host's process 1.
CgroupLayout::Manager detect_cgroup_manager() {
  static const auto status = sys::stat_path("/run/systemd/system");
  return status && S_ISDIR(status->st_mode) ? CgroupLayout::Manager::systemd : CgroupLayout::Manager::nobody;
}

}  // namespace holm::quotas
