// What a container's root has made of the groups that were delegated to it: nested groups, their owners, and
// limits of its own. A checkpoint keeps it, because CRIU restores no limits on cgroup v2, and programs
// (systemd) hold on to their groups by name, empty ones too.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "quotas/cgroup.h"

namespace holm::quotas {

struct SavedGroup {
  std::string path;  // below the container's own group: "", "system.slice/cron.service"
  uid_t uid = 0;     // owner of the directory, as the container has it
  gid_t gid = 0;
  std::map<std::string, std::string> values;  // of the files that one may write: "cpu.max" -> "50000 100000"
};

struct SavedHierarchy {
  std::string name;                // "" for v2, "name=systemd"
  std::vector<SavedGroup> groups;  // outer ones first; the first is the container's own
};

// More groups than this are refused, in both directions.
inline constexpr size_t kMaxSavedGroups = 20000;

// Reads what was delegated. `first_id`: the host's id of the container's root.
std::vector<SavedHierarchy> save_groups(const Cgroup& cgroup, uint32_t first_id);

// Makes the nested groups, with their owners; none of the hierarchies that this host has not. The saved names
// and values are the container's word: what does not stay below its own group is an Error.
void restore_groups(const Cgroup& cgroup, const std::vector<SavedHierarchy>& saved, uint32_t first_id);
// Writes the limits into the nested groups, and enables controllers for them: when the processes are in, as a
// group of v2 takes none any more afterwards. What the kernel does not take is told as a warning.
std::vector<std::string> restore_group_values(const Cgroup& cgroup, const std::vector<SavedHierarchy>& saved);

}  // namespace holm::quotas
