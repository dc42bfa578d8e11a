#include "isolation/mount_api.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "base/error.h"
#include "base/text.h"

namespace holm::isolation {
namespace {

uint64_t to_attributes(unsigned flags) {
  uint64_t attributes = 0;
  if (flags & kReadOnly) attributes |= MOUNT_ATTR_RDONLY;
  if (flags & kNoSuid) attributes |= MOUNT_ATTR_NOSUID;
  if (flags & kNoDev) attributes |= MOUNT_ATTR_NODEV;
  if (flags & kNoExec) attributes |= MOUNT_ATTR_NOEXEC;
  return attributes;
}

void set_attributes(int mount, const struct mount_attr& attributes, Depth depth, std::string_view action) {
  const unsigned flags = AT_EMPTY_PATH | (depth == Depth::whole_tree ? AT_RECURSIVE : 0U);
  struct mount_attr copy = attributes;
  if (::mount_setattr(mount, "", flags, &copy, sizeof copy) != 0) throw Error::system(action);
}

// The message that the kernel left on a file system context ("e overlay: upperdir is in-use ..."), empty if
// none.
std::string kernel_message(int context) {
  char text[512];
  const ssize_t size = ::read(context, text, sizeof text);
  if (size <= 2) return {};
  return printable(trim(std::string_view(text, static_cast<size_t>(size)).substr(2)));
}

[[noreturn]] void fail_mount(int context, std::string_view what) {
  const int error_number = errno;
  const std::string message = context < 0 ? std::string() : kernel_message(context);
  Error error = Error::system(error_number, what);
  if (!message.empty()) error.hint("the kernel says: " + message);
  throw error;
}

}  // namespace

UniqueFd make_file_system(const std::string& type, const MountOptions& options, unsigned flags,
                          std::string_view name) {
  const UniqueFd context(::fsopen(type.c_str(), FSOPEN_CLOEXEC));
  if (!context) fail_mount(-1, fmt::format("mount '{}' as {}", name, type));
  for (const auto& [key, value] : options) {
    const int done = value.empty()
                         ? ::fsconfig(context.get(), FSCONFIG_SET_FLAG, key.c_str(), nullptr, 0)
                         : ::fsconfig(context.get(), FSCONFIG_SET_STRING, key.c_str(), value.c_str(), 0);
    if (done != 0)
      fail_mount(context.get(), fmt::format("mount '{}' as {} with '{}={}'", name, type, key, value));
  }
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    fail_mount(context.get(), fmt::format("mount '{}' as {}", name, type));
  UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(to_attributes(flags))));
  if (!mount) fail_mount(context.get(), fmt::format("mount '{}' as {}", name, type));
  return mount;
}

UniqueFd copy_mount(int directory, const std::string& path, Depth depth) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  if (path.empty()) flags |= AT_EMPTY_PATH;
  if (depth == Depth::whole_tree) flags |= AT_RECURSIVE;
  UniqueFd mount(::open_tree(directory, path.c_str(), flags));
  if (!mount) throw Error::system(fmt::format("copy mount '{}'", path));
  // A copy stays in the peer group of its original: what the host mounts there later would come in, without
  // the flags and the id map of this one. systemd makes all mounts of the host shared.
  struct mount_attr attributes = {};
  attributes.propagation = MS_PRIVATE;
  set_attributes(mount.get(), attributes, depth, fmt::format("cut the copy of mount '{}' off", path));
  return mount;
}

void add_mount_flags(int mount, unsigned flags, Depth depth, std::string_view name) {
  struct mount_attr attributes = {};
  attributes.attr_set = to_attributes(flags);
  set_attributes(mount, attributes, depth, fmt::format("change mount '{}'", name));
}

void set_mount_id_map(int mount, int user_namespace, Depth depth, std::string_view name) {
  struct mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<uint64_t>(user_namespace);
  set_attributes(mount, attributes, depth, fmt::format("map ids of mount '{}'", name));
}

void attach_mount(int mount, int target, std::string_view target_name) {
  if (::move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
    throw Error::system(fmt::format("mount on '{}'", target_name));
}

void make_mounts_private() {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    throw Error::system("make mounts private below '/'");
}

void pivot_root_into(int root) {
  if (::fchdir(root) != 0) throw Error::system("enter the new root");
  // pivot_root(".", ".") stacks the old root on the new one, so no directory for it is needed
  // (pivot_root(2)).
  if (::syscall(SYS_pivot_root, ".", ".") != 0) throw Error::system("pivot_root to the new root");
  if (::umount2(".", MNT_DETACH) != 0) throw Error::system("detach the old root");
  if (::chdir("/") != 0) throw Error::system("enter '/'");
}

}  // namespace holm::isolation
