#include "runtime/root_mount.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sched.h>
#include <sys/mount.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "base/sys.h"
#include "isolation/mount_api.h"
#include "runtime/closed_directory.h"
#include "storage/root_check.h"
#include "storage/template_store.h"

namespace holm::runtime {
namespace {

using isolation::Depth;

// overlayfs separates layers by ':' and lets '\' quote it.
std::string quote_layer(const std::string& path) {
  std::string out;
  for (const char c : path) {
    if (c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

void attach_at(int mount, const std::string& path) {
  sys::make_directories(path, 0700);
  const UniqueFd target = sys::open(path, O_PATH | O_DIRECTORY);
  isolation::attach_mount(mount, target.get(), path);
}

UniqueFd make_overlay(const isolation::MountOptions& options) {
  // index=on refuses an upper directory that the mount namespace of a container which just ended still holds.
  for (int attempt = 0;; ++attempt) {
    try {
      return isolation::make_file_system("overlay", options, isolation::kNoDev, "root");
    } catch (const Error& error) {
      if (error.error_number() != EBUSY || attempt >= 200) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
}

void mount_template(const Installation& installation, const StoredContainer& container, int user_namespace) {
  const Paths& paths = installation.paths;
  const std::string& name = container.name;
  const std::string& template_name = container.config.spec.root.template_name;
  const UniqueFd template_root = storage::TemplateStore(paths.templates()).open_root(template_name);
  const UniqueFd lower = isolation::copy_mount(template_root.get(), "", Depth::one_mount);
  if (user_namespace >= 0)
    isolation::set_mount_id_map(lower.get(), user_namespace, Depth::one_mount, "template " + template_name);
  isolation::add_mount_flags(lower.get(), isolation::kReadOnly, Depth::one_mount,
                             "template " + template_name);
  const std::string lower_path = paths.runtime(name) + "/lower";
  attach_at(lower.get(), lower_path);
  // index and nfs_export let inotify watches and hard links survive a checkpoint.
  isolation::MountOptions options = {{"lowerdir", quote_layer(lower_path)},
                                     {"upperdir", quote_layer(paths.container(name) + "/upper")},
                                     {"workdir", quote_layer(paths.container(name) + "/work")},
                                     {"index", "on"},
                                     {"nfs_export", "on"},
                                     {"redirect_dir", "nofollow"},
                                     {"metacopy", "off"}};
  if (container.durability == Durability::until_reboot) {
    // Without it each unmount waits until the whole file system below is synced; what a crash loses is
    // garbage then.
    options.emplace_back("volatile", "");
    sys::remove_tree(paths.container(name) +
                     "/work/work/incompat");  // the mark of this container's previous run
  }
  const UniqueFd overlay = make_overlay(options);
  attach_at(overlay.get(), root_path(paths, name));
}

void mount_directory(const Installation& installation, const StoredContainer& container, int user_namespace) {
  const std::string& directory = container.config.spec.root.directory;
  const UniqueFd source = sys::open(directory, O_PATH | O_DIRECTORY);
  storage::check_root_file_system(source.get(), directory);
  if (user_namespace >= 0) require_closed_directory(directory);
  const UniqueFd copy = isolation::copy_mount(source.get(), "", Depth::one_mount);
  try {
    if (user_namespace >= 0)
      isolation::set_mount_id_map(copy.get(), user_namespace, Depth::one_mount, directory);
  } catch (Error& error) {
    throw error.hint(
        "the file system of 'root' must support id-mapped mounts; import it as a template instead");
  }
  isolation::add_mount_flags(copy.get(), isolation::kNoDev, Depth::one_mount, directory);
  attach_at(copy.get(), root_path(installation.paths, container.name));
}

}  // namespace

std::string root_path(const Paths& paths, const std::string& name) { return paths.runtime(name) + "/root"; }

void enter_private_mounts() {
  sys::unshare(CLONE_NEWNS, "mount namespace");
  // Slave, not private: what the host unmounts must not stay busy because of us.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    throw Error::system("make mounts follow the host's");
}

void release_root(const std::string& run_directory) {
  for (const char* name : {"/root", "/lower"}) ::umount2((run_directory + name).c_str(), MNT_DETACH);
}

void mount_root(const Installation& installation, const StoredContainer& container, int user_namespace) {
  if (container.config.spec.root.kind == RootKind::template_overlay) {
    mount_template(installation, container, user_namespace);
  } else {
    mount_directory(installation, container, user_namespace);
  }
}

UniqueFd copy_bind_mount(const MountSpec& mount, int user_namespace) {
  if (user_namespace >= 0 && !mount.readonly) require_closed_directory(mount.source);
  UniqueFd copy = isolation::copy_mount(AT_FDCWD, mount.source, Depth::whole_tree);
  try {
    if (user_namespace >= 0)
      isolation::set_mount_id_map(copy.get(), user_namespace, Depth::whole_tree, mount.source);
  } catch (Error& error) {
    throw error.hint(
        "this file system does not support id-mapped mounts, so the container's root could own nothing on "
        "it");
  }
  const unsigned flags =
      isolation::kNoDev | isolation::kNoSuid | (mount.readonly ? isolation::kReadOnly : 0U);
  isolation::add_mount_flags(copy.get(), flags, Depth::whole_tree, mount.source);
  return copy;
}

}  // namespace holm::runtime
