// Finds the cgroup hierarchies of the host.
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/cgroup.h"

namespace holm::quotas {
namespace {

// One line of /proc/self/mountinfo, as far as it matters here.
struct Mount {
  std::string root;
  std::string point;
  std::string type;
  std::vector<std::string> super_options;
};

// proc(5): blank, tab, newline and backslash stand there as \ooo.
std::string unescape(std::string_view text) {
  const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3])) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

// Nothing where the line is not a mount of a cgroup hierarchy.
std::optional<Mount> parse_cgroup_mount(const std::string& line) {
  if (line.find(" - cgroup") == std::string::npos) return std::nullopt;
  const std::vector<std::string> fields = split(line, ' ');
  const auto dash = std::find(fields.begin(), fields.end(), "-");
  if (fields.size() < 10 || fields.end() - dash < 4) return std::nullopt;
  Mount mount{unescape(fields[3]), unescape(fields[4]), *(dash + 1), split(*(dash + 3), ',')};
  if (mount.type != "cgroup" && mount.type != "cgroup2") return std::nullopt;
  return mount;
}

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

bool is_mount_of(const Mount& mount, const Membership& membership) {
  if (membership.controllers.empty()) return mount.type == "cgroup2";
  return mount.type == "cgroup" &&
         std::all_of(membership.controllers.begin(), membership.controllers.end(),
                     [&](const std::string& name) {
                       return std::find(mount.super_options.begin(), mount.super_options.end(), name) !=
                              mount.super_options.end();
                     });
}

// A hierarchy may be mounted several times, also only a part of it: the mount of the whole is wanted.
const Mount* find_mount(const std::vector<Mount>& mounts, const Membership& membership) {
  const Mount* found = nullptr;
  for (const Mount& mount : mounts) {
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
  std::vector<Mount> mounts;
  for (const std::string& line : split(mountinfo, '\n'))
    if (auto mount = parse_cgroup_mount(line)) mounts.push_back(std::move(*mount));

  CgroupLayout layout;
  for (const Membership& membership : parse_memberships(self_cgroup)) {
    const Mount* mount = find_mount(mounts, membership);
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
