#include "checkpoint/preflight_mounts.h"

#include <fmt/core.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "base/text.h"
#include "quotas/block_device.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kMaxMountinfo = 16 << 20;

// What CRIU 4.1.1 and 4.2.1 know to mount again (filesystems.c, `fstypes`), but "btrfs", "fuse" and "aufs",
// which stand there to be refused. Whatever is missing here CRIU calls "unsupported": ramfs, hugetlbfs, bpf,
// configfs, nfs, nsfs, selinuxfs, efivarfs, disks' file systems.
constexpr std::array<std::string_view, 17> kKnownTypes = {
    "proc",   "sysfs",      "devtmpfs", "binfmt_misc", "tmpfs",   "devpts",  "simfs",   "pstore", "mqueue",
    "cgroup", "securityfs", "fusectl",  "debugfs",     "tracefs", "cgroup2", "overlay", "autofs"};

bool is_known(std::string_view type) { return std::ranges::find(kKnownTypes, type) != kKnownTypes.end(); }

bool is_fuse(std::string_view type) { return type == "fuse" || type.starts_with("fuse."); }

// Whether `path` is `directory` or below it.
bool is_below(std::string_view path, std::string_view directory) {
  if (directory == "/") return true;
  return path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/');
}

// CRIU takes a cgroup namespace's root for the file system's.
bool has_whole(const ListedMount& mount) {
  return mount.entry.root == "/" || mount.entry.type == "cgroup" || mount.entry.type == "cgroup2";
}

uint64_t tag(std::string_view field, std::string_view name) {
  return field.starts_with(name) ? parse_unsigned(field.substr(name.size())).value_or(0) : 0;
}

std::string object_of(const ListedMount& mount) {
  return fmt::format("mount '{}' ({})", shortened(mount.entry.point), shortened(mount.entry.type));
}

Finding fuse_finding(const ListedMount& mount) {
  return {Severity::obstacle, object_of(mount),
          "what a FUSE server holds is in that server, and its connection cannot be saved", "unmount it"};
}

// Mounts that others may be binds of: what is external, and init's root, which the restore finds mounted.
struct Sources {
  std::unordered_multimap<std::string, const ListedMount*> given;  // by device
  std::unordered_set<std::string> whole;                           // devices with a mount of all of it
  std::unordered_set<uint64_t> peer_groups;

  bool has(const ListedMount& mount) const {
    const auto [begin, end] = given.equal_range(mount.entry.device);
    return std::any_of(begin, end, [&](const auto& source) {
      return is_below(mount.entry.root, source.second->entry.root);
    });
  }
  bool has_master_of(const ListedMount& mount) const {
    const auto [begin, end] = given.equal_range(mount.entry.device);
    return peer_groups.contains(mount.master) || std::any_of(begin, end, [&](const auto& source) {
             return source.second->master == mount.master &&
                    is_below(mount.entry.root, source.second->entry.root);
           });
  }
};

Sources find_sources(const std::vector<MountNamespace>& namespaces,
                     const std::unordered_set<std::string>& external) {
  Sources sources;
  for (const MountNamespace& one : namespaces) {
    std::unordered_set<uint64_t> ids;
    for (const ListedMount& mount : one.mounts) ids.insert(mount.entry.id);
    for (const ListedMount& mount : one.mounts) {
      if (has_whole(mount)) sources.whole.insert(mount.entry.device);
      if (mount.shared != 0) sources.peer_groups.insert(mount.shared);
      const bool is_root = !ids.contains(mount.parent) || mount.parent == mount.entry.id;
      const bool is_external = external.contains(mount.entry.point);
      // Points are looked up in init's namespace only: another one may have something else there.
      if (&one == &namespaces.front() && (is_root || is_external))
        sources.given.emplace(mount.entry.device, &mount);
    }
  }
  return sources;
}

std::optional<Finding> judge_mount(const ListedMount& mount, const Sources& sources) {
  const auto refuse = [&](std::string why, std::string cure) {
    return Finding{Severity::obstacle, object_of(mount), std::move(why), std::move(cure)};
  };
  if (mount.master != 0 && !sources.has_master_of(mount))
    return refuse("it receives mounts from one that is not in the container",
                  "make it private: mount --make-private");
  if (sources.has(mount)) return std::nullopt;
  if (is_fuse(mount.entry.type)) return fuse_finding(mount);
  if (mount.entry.type == "nsfs")
    return refuse("CRIU does not save namespaces that a mount keeps ('ip netns')", "unmount it");
  if (has_whole(mount)) {
    if (is_known(mount.entry.type)) return std::nullopt;
    return refuse(
        "CRIU does not know this file system",
        mount.entry.type == "ramfs"
            ? "use a tmpfs; for systemd's credentials: LoadCredential= and SetCredential= empty in a "
              "drop-in of the service"
            : "unmount it, or put it in a [[mount]] of the config");
  }
  if (sources.whole.contains(mount.entry.device)) return std::nullopt;
  return refuse("it shows a part of a file system whose whole is mounted nowhere in the container",
                "unmount it, or put it in a [[mount]] of the config");
}

// Where two mounts have one place, or hang on one that CRIU leaves out.
void judge_shape(const MountNamespace& one, Findings& findings) {
  std::unordered_map<uint64_t, const ListedMount*> by_id;
  for (const ListedMount& mount : one.mounts) by_id.emplace(mount.entry.id, &mount);
  std::set<std::pair<uint64_t, std::string_view>> seen;
  for (const ListedMount& mount : one.mounts) {
    if (!seen.emplace(mount.parent, mount.entry.point).second)
      findings.push_back({one.process,
                          {Severity::obstacle, object_of(mount),
                           "another mount is at the same place of the same file system", "unmount one"}});
    const auto parent = by_id.find(mount.parent);
    if (parent != by_id.end() && parent->second->entry.type == "tracefs")
      findings.push_back(
          {one.process,
           {Severity::obstacle, object_of(mount), "it is mounted on a tracefs, which CRIU leaves out",
            "unmount the host's tracefs, or give the container a network of its own"}});
  }
}

void index_namespace(const std::vector<ListedMount>& mounts, MountIndex& index) {
  std::unordered_map<uint64_t, std::set<std::string_view>> children;  // the points of those on a mount
  std::unordered_map<uint64_t, std::string_view> points;
  for (const ListedMount& mount : mounts) {
    children[mount.parent].insert(mount.entry.point);
    points.emplace(mount.entry.id, mount.entry.point);
  }
  for (const ListedMount& mount : mounts) {
    bool is_covered = children[mount.entry.id].contains(mount.entry.point);
    // A sibling at a directory above it.
    const std::string_view point = mount.entry.point;
    const auto& siblings = children[mount.parent];
    const auto parent = points.find(mount.parent);
    for (size_t end = point.rfind('/'); parent != points.end() && end != 0 && end != std::string_view::npos;
         end = point.rfind('/', end - 1)) {
      if (point.substr(0, end).size() <= parent->second.size()) break;
      is_covered = is_covered || siblings.contains(point.substr(0, end));
    }
    index.places[mount.entry.id] = {mount.entry.point, mount.entry.type, is_covered};
    index.types[mount.entry.device] = mount.entry.type;
  }
}

}  // namespace

std::vector<ListedMount> parse_listed_mounts(std::string_view mountinfo) {
  std::vector<ListedMount> mounts;
  for (const std::string& line : split(mountinfo, '\n')) {
    auto entry = quotas::parse_mount(line);
    if (!entry) continue;
    ListedMount mount{std::move(*entry)};
    const std::vector<std::string> fields = split(line, ' ');
    mount.parent = parse_unsigned(fields[1]).value_or(0);
    const std::vector<std::string> options = split(fields[5], ',');
    mount.is_read_only = std::ranges::find(options, "ro") != options.end();
    for (size_t i = 6; i < fields.size() && fields[i] != "-"; ++i) {
      mount.shared = std::max(mount.shared, tag(fields[i], "shared:"));
      mount.master = std::max(mount.master, tag(fields[i], "master:"));
    }
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

Findings judge_mounts(const std::vector<MountNamespace>& namespaces,
                      const std::unordered_set<std::string>& external) {
  Findings findings;
  if (namespaces.empty()) return findings;
  const Sources sources = find_sources(namespaces, external);
  for (const MountNamespace& one : namespaces) {
    const bool is_of_init = &one == &namespaces.front();
    for (const ListedMount& mount : one.mounts)
      if (auto finding = judge_mount(mount, sources))
        findings.push_back({is_of_init ? 0 : one.process, std::move(*finding)});
    judge_shape(one, findings);
  }
  return findings;
}

MountIndex index_mounts(const std::vector<MountNamespace>& namespaces) {
  MountIndex index;
  for (const MountNamespace& one : namespaces) index_namespace(one.mounts, index);
  return index;
}

std::vector<MountNamespace> read_mount_namespaces(const Tree& tree, const Deadline& deadline,
                                                  bool& is_complete) {
  std::vector<MountNamespace> namespaces;
  std::unordered_set<uint64_t> seen;
  for (const Task& task : tree.tasks) {
    const auto own = task.namespaces.find("mnt");
    if (own == task.namespaces.end() || !seen.insert(own->second).second) continue;
    if (deadline.is_over() && !namespaces.empty()) {  // init's are always told
      is_complete = false;
      break;
    }
    const UniqueFd directory = open_process_directory(task.pid, "");
    const auto text = directory ? read_begin(directory.get(), "mountinfo", kMaxMountinfo) : std::nullopt;
    if (!text) continue;
    if (text->size() >= kMaxMountinfo - 4096) is_complete = false;
    namespaces.push_back({task.pid, parse_listed_mounts(*text)});
  }
  return namespaces;
}

QueueObjects find_queue_mounts(const std::vector<MountNamespace>& namespaces,
                               const std::unordered_set<std::string>& external) {
  QueueObjects found;
  std::set<std::string> points, others;  // CRIU knows what it is to pass over by its place alone
  MountIndex of_init;
  index_namespace(namespaces.front().mounts, of_init);
  for (const MountNamespace& one : namespaces)
    for (const ListedMount& mount : one.mounts) {
      const bool is_queues = mount.entry.type == "mqueue" && !external.contains(mount.entry.point);
      (is_queues ? points : others).insert(mount.entry.point);
    }
  for (const ListedMount& mount : namespaces.front().mounts) {
    const auto device = quotas::parse_device_number(mount.entry.device);
    const bool is_usable = mount.entry.type == "mqueue" && mount.entry.root == "/" && !mount.is_read_only &&
                           !of_init.places[mount.entry.id].is_covered && !others.contains(mount.entry.point);
    if (is_usable && device && !found.mount)
      found.mount =
          QueueObjects::Mount{mount.entry.id, mount.entry.point, ::makedev(device->major, device->minor)};
  }
  for (const std::string& point : points)
    if (!others.contains(point)) found.externals.push_back(queue_mount_external(point));
  return found;
}

}  // namespace holm::checkpoint
