// The mount options of cgroup v2 (nsdelegate, memory_recursiveprot, ...) are those of the one hierarchy that
// the host has. Whoever mounts it without them takes them away from the whole host, and CRIU mounts it so for
// its work (cgroups(7), "mount options"; systemd sets both).
#pragma once

namespace holm::quotas {

// Gives the hierarchy back what it had, or has had since the host's boot while Holm looked: of two such
// scopes at once the second finds it without. Does nothing where none are lacking.
class HierarchyOptions {
 public:
  HierarchyOptions();
  ~HierarchyOptions();
  HierarchyOptions(const HierarchyOptions&) = delete;
  HierarchyOptions& operator=(const HierarchyOptions&) = delete;
};

// What the end of such a scope would have done for a process that was killed.
void restore_hierarchy_options();

}  // namespace holm::quotas
