// The file systems that a container finds below its root: /proc, /sys, /dev and the cgroups, masked where
// they are not namespaced. All functions run in the container's namespaces before pivot_root, with `root` the
// open new root.
#pragma once

#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace holm::isolation {

// Opens the mount point `path` below `root`, making the directory if it is not there. A link, a file or a
// FIFO at any component is an Error: whoever made the root file system must not steer where Holm mounts.
UniqueFd open_mount_point(int root, const std::string& path);
// As above for a file as target: an empty one is made if there is none.
UniqueFd open_mount_point_file(int root, const std::string& path);

void mount_proc(int root);

enum class SysMode {
  own,      // the container has its own network namespace: a new sysfs
  of_host,  // it shares the host's: a read-only copy of the host's /sys, as the kernel allows no new one
};
void mount_sys(int root, SysMode mode);

// One cgroup hierarchy as the container sees it: its own group is the root.
struct CgroupMount {
  std::string directory;             // name below /sys/fs/cgroup; empty: v2 mounted on /sys/fs/cgroup itself
  std::vector<std::string> options;  // v1: {"cpu","cpuacct"} or {"none","name=systemd"}; empty for v2
  bool is_v2 = false;
  bool writable = false;  // delegated to the container
};
void mount_cgroups(int root, const std::vector<CgroupMount>& cgroups);

// tmpfs on /dev with null zero full random urandom tty (bound from the host), its own devpts, shm, mqueue and
// the usual links. `console`: a detached mount of the console's pty slave, or -1 for none.
void mount_dev(int root, int console);

// Hides and write-protects what SECURITY's profile lists (masks.h). `root` must hold /proc and /sys already.
void mask_paths(int root, SysMode mode);

}  // namespace holm::isolation
