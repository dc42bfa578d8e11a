// The kernel's file-descriptor based mount interface (fsopen, open_tree, move_mount, mount_setattr): mounts
// are made detached, completed, and attached to a directory that is already open, so that no path is looked
// up twice.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

namespace holm::isolation {

// Flags of a mount; combined with |.
enum MountFlags : unsigned {
  kReadWrite = 0,
  kReadOnly = 1,
  kNoSuid = 2,
  kNoDev = 4,
  kNoExec = 8,
};
enum class Depth { one_mount, whole_tree };

// One option: {"mode","0755"}; an empty value is a flag option ("rw").
using MountOptions = std::vector<std::pair<std::string, std::string>>;

// A new detached mount of a file system; `name` is what the message calls it. The kernel's own words go into
// the error.
UniqueFd make_file_system(const std::string& type, const MountOptions& options, unsigned flags,
                          std::string_view name);
// A detached copy of what is at `path`, relative to `directory` (AT_FDCWD: the host's path). What is mounted
// there later does not appear in it.
UniqueFd copy_mount(int directory, const std::string& path, Depth depth);
// Changes flags of a detached or attached mount, given by any descriptor of its root.
void add_mount_flags(int mount, unsigned flags, Depth depth, std::string_view name);
// Shows the files of a detached mount as owned through the id map of a user namespace.
void set_mount_id_map(int mount, int user_namespace, Depth depth, std::string_view name);
// Attaches a detached mount on an open directory or file. `target_name` is for the message.
void attach_mount(int mount, int target, std::string_view target_name);

// Cuts every mount of this mount namespace off from the others'.
void make_mounts_private();
// Makes the mount whose root `root` is the root of this mount namespace and lets go of the old one.
void pivot_root_into(int root);

}  // namespace holm::isolation
