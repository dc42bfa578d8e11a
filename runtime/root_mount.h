// A container's root file system, and the host's directories in it, as mounts of the monitor's mount
// namespace.
#pragma once

#include <string>

#include "base/unique_fd.h"
#include "runtime/container_store.h"

namespace holm::runtime {

// Where the root is mounted: below the run directory.
std::string root_path(const Paths& paths, const std::string& name);

// Makes the mount namespace that the root is mounted in: the host's mounts go on following the host's
// changes.
void enter_private_mounts();

// Mounts the root: the overlay of a template, or a directory. `user_namespace`: a descriptor of one that maps
// the container's ids; -1 where it has the host's ids. release_root undoes it.
void mount_root(const Installation& installation, const StoredContainer& container, int user_namespace);
// Unmounts what mount_root mounted, after the container ended.
void release_root(const std::string& run_directory);

// A detached mount of a directory of the host ([[mount]]), with the container's ids.
UniqueFd copy_bind_mount(const MountSpec& mount, int user_namespace);

}  // namespace holm::runtime
