#include "checkpoint/image_gate.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "checkpoint/criu_images.pb.h"
#include "checkpoint/image_file.h"
#include "checkpoint/image_pages.h"
#include "checkpoint/image_processes.h"
#include "checkpoint/rewrite_images.h"

namespace holm::checkpoint {
namespace {

using runtime::StoredContainer;

// Kinds of file systems that CRIU mounts anew, by its own numbers; of others there are only what comes from
// outside. All are made in the container's user namespace, which the kernel allows for these alone.
enum FileSystem : uint32_t {
  kProc = 1,
  kSysfs = 2,
  kDevtmpfs = 3,  // more binds of nodes from outside, which no user namespace can mount anew
  kBinfmtMisc = 4,
  kTmpfs = 5,
  kDevpts = 6,
  kCgroup = 12,
  kMqueue = 14,
  kOverlay = 17,
  kCgroup2 = 23,
};
constexpr std::array<uint32_t, 9> kMounted = {kProc,   kSysfs,  kDevtmpfs, kBinfmtMisc, kTmpfs,
                                              kDevpts, kCgroup, kMqueue,   kCgroup2};
// mount(2): MS_BIND, MS_MOVE and MS_REMOUNT would turn the making of a file system into something else.
constexpr uint32_t kForeignFlags = 4096 | 8192 | 32;

void set_id_map(google::protobuf::RepeatedPtrField<images::IdExtent>& map, const isolation::IdRange& ids) {
  map.Clear();
  images::IdExtent* extent = map.Add();
  extent->set_first(0);
  extent->set_lower_first(ids.first);
  extent->set_count(ids.count);
}

// --- namespaces: all but mounts, networks and cgroups are init's own; none is that of what stands outside

struct NamespaceKind {
  const char* name;
  uint32_t (images::NamespaceIds::*id)() const;
  bool may_be_nested;
};
constexpr std::array<NamespaceKind, 8> kNamespaces = {{{"pid", &images::NamespaceIds::pid_ns_id, false},
                                                       {"user", &images::NamespaceIds::user_ns_id, false},
                                                       {"mount", &images::NamespaceIds::mnt_ns_id, true},
                                                       {"network", &images::NamespaceIds::net_ns_id, true},
                                                       {"ipc", &images::NamespaceIds::ipc_ns_id, false},
                                                       {"uts", &images::NamespaceIds::uts_ns_id, false},
                                                       {"cgroup", &images::NamespaceIds::cgroup_ns_id, true},
                                                       {"time", &images::NamespaceIds::time_ns_id, false}}};

bool is_shared_with_host(const runtime::ContainerSpec& spec, std::string_view kind) {
  if (kind == "user") return !spec.security.user_namespace;
  if (kind == "network") return spec.networks.front().mode == netsetup::NicMode::host;
  return false;
}

void check_namespaces(const images::NamespaceIds& ids, const images::NamespaceIds& init,
                      const images::NamespaceIds& outside, const runtime::ContainerSpec& spec) {
  for (const NamespaceKind& kind : kNamespaces) {
    const uint32_t id = (ids.*kind.id)();
    if (std::string_view(kind.name) == "time" && id == 0) continue;  // made where the kernel has none
    const bool is_outside = id == 0 || id == (outside.*kind.id)();
    if (is_outside != is_shared_with_host(spec, kind.name))
      throw Error(fmt::format("a process of it is {} the container's {} namespace",
                              is_outside ? "outside of" : "in a copy of", kind.name));
    if (!kind.may_be_nested && id != (init.*kind.id)())
      throw Error(fmt::format("a process of it is in another {} namespace than init", kind.name));
  }
}

images::NamespaceIds read_ids(const std::string& path) {
  const ImageFile image = read_image(path);
  images::NamespaceIds ids;
  if (image.messages.size() != 1 || !ids.ParseFromString(image.messages.front()))
    throw Error(fmt::format("'{}' is damaged", path));
  return ids;
}

void gate_namespaces(const std::string& directory, const StoredContainer& container) {
  images::NamespaceIds outside;
  rewrite_each<images::Inventory>(directory, "inventory", [&](images::Inventory& inventory) {
    outside = inventory.root_ids();
    inventory.clear_network_lock_method();
    inventory.clear_dump_criu_run_id();
  });
  const images::NamespaceIds init = read_ids(directory + "/ids-1.img");
  const auto check = [&](const images::NamespaceIds& ids) {
    check_namespaces(ids, init, outside, container.config.spec);
  };
  rewrite_each<images::NamespaceIds>(directory, "ids-", check);
  rewrite_each<images::Core>(directory, "core-", [&](images::Core& core) {
    if (core.has_ids()) check(core.ids());
  });
  rewrite_each<images::UserNamespace>(directory, "userns-", [&](images::UserNamespace& map) {
    set_id_map(*map.mutable_uid_map(), container.identity.ids);
    set_id_map(*map.mutable_gid_map(), container.identity.ids);
  });
}

// --- cgroups: each path is put below the container's own group of today

// What the path has below the group that its cgroup namespace shows as the root: "/system.slice".
std::string path_inside(const images::CgroupMember& member) {
  const std::string& path = member.path();
  if (member.cgns_prefix() > path.size()) throw Error("a cgroup's path is damaged");
  std::string inside = path.substr(member.cgns_prefix());
  for (const std::string& part : split(inside, '/'))
    if (part == ".." || part == ".")
      throw Error(fmt::format("cgroup '{}' is none of a container", shortened(path)));
  return inside == "/" ? "" : inside;
}

void gate_cgroups(const std::string& directory, const quotas::Cgroup& cgroup) {
  const auto places = cgroup.places();
  const auto place_of = [&](const std::string& names) -> const std::string* {
    const auto place = places.find(names.substr(0, names.find(',')));
    return place == places.end() ? nullptr : &place->second;
  };
  rewrite_each<images::Cgroups>(directory, "cgroup", [&](images::Cgroups& cgroups) {
    for (images::CgroupSet& set : *cgroups.mutable_sets()) {
      for (images::CgroupMember& member : *set.mutable_ctls()) {
        const std::string* place = place_of(member.name());
        if (!place)
          throw Error(fmt::format("it was in a cgroup hierarchy '{}', which this host has not",
                                  shortened(member.name())))
              .hint("restore it on a host with the same version of cgroups");
        const std::string inside = path_inside(member);
        member.set_path(*place + inside);
        member.set_cgns_prefix(static_cast<uint32_t>(place->size()));
      }
    }
    for (images::CgroupController& controller : *cgroups.mutable_controllers()) {
      // The directories and what is set in them are Holm's to make.
      controller.clear_dirs();
      for (const std::string& name : controller.cnames())
        if (!place_of(name))
          throw Error(fmt::format("'{}' is no cgroup hierarchy of this host", shortened(name)));
    }
  });
}

// --- mounts

void gate_mounts(const std::string& directory, const std::vector<ExternalMount>& externals) {
  rewrite_each<images::Mount>(directory, "mountpoints-", [&](images::Mount& mount) {
    const std::string point = shortened(mount.mountpoint());
    if ((mount.flags() | mount.sb_flags()) & kForeignFlags)
      throw Error(fmt::format("mount '{}' has flags that no mount has", point));
    if (mount.with_plugin() || mount.ext_mount())
      throw Error(fmt::format("mount '{}' is of a kind that Holm does not make", point));
    if (mount.has_ext_key()) {
      if (std::ranges::find(externals, mount.ext_key(), &ExternalMount::key) == externals.end())
        throw Error(fmt::format("mount '{}' comes from outside, and its manifest does not name it", point));
      return;
    }
    const bool is_root = mount.mountpoint() == "/";
    if (is_root || mount.fstype() == kOverlay) return;  // of the root's file system: nothing is mounted anew
    if (std::ranges::find(kMounted, mount.fstype()) == kMounted.end())
      throw Error(fmt::format("mount '{}' is of a file system ({} '{}') that cannot be restored", point,
                              mount.fstype(), shortened(mount.fsname())));
  });
}

}  // namespace

void rewrite_images(const std::string& images, const StoredContainer& container, const quotas::Cgroup& cgroup,
                    const std::vector<ExternalMount>& externals) {
  gate_namespaces(images, container);
  gate_cgroups(images, cgroup);
  gate_mounts(images, externals);
  check_pages(images);
  const ProcessRights rights = process_rights(container.config.spec);
  SeccompRoots roots;
  rewrite_each<images::Core>(images, "core-",
                             [&](images::Core& core) { reduce_process(core, rights, roots); });
  rewrite_each<images::SeccompFilters>(
      images, "seccomp", [&](images::SeccompFilters& filters) { rewrite_filters(filters, rights, roots); });
}

}  // namespace holm::checkpoint
