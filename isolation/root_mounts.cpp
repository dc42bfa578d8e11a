#include "isolation/root_mounts.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/magic.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/sys.h"
#include "isolation/masks.h"
#include "isolation/mount_api.h"

namespace holm::isolation {
namespace {

struct DeviceNode {
  const char* name;
  unsigned major;
  unsigned minor;
};

// The nodes that programs expect everywhere; all others are left out, as each one is a way to the host's
// devices.
constexpr std::array<DeviceNode, 6> kDeviceNodes = {
    {{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}};

struct DeviceLink {
  const char* name;
  const char* target;
};
constexpr std::array<DeviceLink, 5> kDeviceLinks = {{{"fd", "/proc/self/fd"},
                                                     {"stdin", "/proc/self/fd/0"},
                                                     {"stdout", "/proc/self/fd/1"},
                                                     {"stderr", "/proc/self/fd/2"},
                                                     {"ptmx", "pts/ptmx"}}};

std::optional<UniqueFd> open_below(int root, const std::string& path, int flags) {
  try {
    return sys::open_confined(root, path, flags, sys::Confine::in_root_nolink);
  } catch (Error& error) {
    if (error.error_number() == ENOENT) return std::nullopt;
    if (error.error_number() == ELOOP)
      error.hint(fmt::format("'{}' of the root file system leads through a symbolic link", path));
    if (error.error_number() == ENOTDIR)
      error.hint(fmt::format("'{}' of the root file system is not a directory", path));
    throw;
  }
}

void require_file_system(int fd, long magic, std::string_view name) {
  struct statfs status = {};
  if (::fstatfs(fd, &status) != 0) throw Error::system(fmt::format("stat file system of '{}'", name));
  if (status.f_type != magic)
    throw Error(fmt::format("'{}' is not the file system that was mounted there", name));
}

// Binds a device of the host over an empty file in the container's /dev, after a look at what it really is.
void bind_device_node(int dev, const DeviceNode& node) {
  const std::string host_path = fmt::format("/dev/{}", node.name);
  const UniqueFd mount = copy_mount(AT_FDCWD, host_path, Depth::one_mount);
  const struct stat status = sys::stat_fd(mount.get(), host_path);
  if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(node.major, node.minor))
    throw Error(
        fmt::format("'{}' of the host is not the character device {}:{}", host_path, node.major, node.minor));
  const UniqueFd target = sys::open_at(dev, node.name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
  attach_mount(mount.get(), target.get(), host_path);
}

UniqueFd make_directory_in(int directory, const std::string& name, mode_t mode) {
  sys::make_directory_at(directory, name, mode);
  return sys::open_at(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
}

void mount_in(int directory, const std::string& name, const std::string& type, const MountOptions& options,
              unsigned flags) {
  const UniqueFd target = make_directory_in(directory, name, 0755);
  attach_mount(make_file_system(type, options, flags, name).get(), target.get(), name);
}

// Covers files by /dev/null and directories by an empty one, which is one file system for all: a checkpoint
// has it once.
class Masks {
 public:
  explicit Masks(int root) : root_(root) {}

  void cover(const std::string& path) {
    const auto target = open_below(root_, path, O_PATH);
    if (!target) return;  // this kernel has no such file
    if (!S_ISDIR(sys::stat_fd(target->get(), path).st_mode))
      return attach_mount(copy_mount(AT_FDCWD, "/dev/null", Depth::one_mount).get(), target->get(), path);
    // Kernels before 6.15 copy no mount that is not attached yet: the first directory gets it itself.
    if (nothing_)
      return attach_mount(copy_mount(nothing_.get(), "", Depth::one_mount).get(), target->get(), path);
    nothing_ = make_file_system("tmpfs", {{"size", "4k"}, {"nr_inodes", "2"}, {"mode", "0555"}},
                                kReadOnly | kNoSuid | kNoDev | kNoExec, path);
    attach_mount(nothing_.get(), target->get(), path);
  }

 private:
  int root_;
  UniqueFd nothing_;
};

void make_read_only(int root, const std::string& path) {
  const auto target = open_below(root, path, O_PATH);
  if (!target) return;
  struct statvfs status = {};
  if (::fstatvfs(target->get(), &status) == 0 && (status.f_flag & ST_RDONLY) != 0)
    return;  // it was mounted so
  const UniqueFd copy = copy_mount(target->get(), "", Depth::whole_tree);
  add_mount_flags(copy.get(), kReadOnly | kNoSuid | kNoDev | kNoExec, Depth::one_mount, path);
  attach_mount(copy.get(), target->get(), path);
}

}  // namespace

UniqueFd open_mount_point(int root, const std::string& path) {
  if (auto fd = open_below(root, path, O_PATH | O_DIRECTORY)) return std::move(*fd);
  const size_t slash = path.rfind('/');
  const UniqueFd parent = slash == std::string::npos || slash == 0
                              ? sys::open_at(root, ".", O_PATH | O_DIRECTORY)
                              : open_mount_point(root, path.substr(0, slash));
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (::mkdirat(parent.get(), name.c_str(), 0755) != 0 && errno != EEXIST)
    throw Error::system(fmt::format("make directory '{}' inside the container", path));
  return sys::open_confined(root, path, O_PATH | O_DIRECTORY, sys::Confine::in_root_nolink);
}

UniqueFd open_mount_point_file(int root, const std::string& path) {
  if (auto fd = open_below(root, path, O_PATH | O_NOFOLLOW)) {
    if (!S_ISREG(sys::stat_fd(fd->get(), path).st_mode))
      throw Error(fmt::format("mount on '{}': it is not a regular file", path));
    return std::move(*fd);
  }
  const size_t slash = path.rfind('/');
  const UniqueFd parent =
      open_mount_point(root, slash == std::string::npos || slash == 0 ? "." : path.substr(0, slash));
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const UniqueFd directory = sys::open_at(parent.get(), ".", O_RDONLY | O_DIRECTORY);
  return sys::open_at(directory.get(), name, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
}

void mount_proc(int root) {
  const UniqueFd target = open_mount_point(root, "proc");
  try {
    attach_mount(make_file_system("proc", {}, kNoSuid | kNoDev | kNoExec, "proc").get(), target.get(),
                 "/proc");
  } catch (Error& error) {
    if (error.error_number() == EPERM)
      error.hint(
          "the kernel refuses a new /proc where parts of the host's are covered; start Holm outside of other "
          "containers");
    throw;
  }
}

void mount_sys(int root, SysMode mode) {
  const UniqueFd target = open_mount_point(root, "sys");
  constexpr unsigned kFlags = kReadOnly | kNoSuid | kNoDev | kNoExec;
  if (mode == SysMode::own) {
    attach_mount(make_file_system("sysfs", {}, kFlags, "sysfs").get(), target.get(), "/sys");
    return;
  }
  const UniqueFd copy = copy_mount(AT_FDCWD, "/sys", Depth::whole_tree);
  add_mount_flags(copy.get(), kFlags, Depth::whole_tree, "/sys");
  attach_mount(copy.get(), target.get(), "/sys");
}

void mount_cgroups(int root, const std::vector<CgroupMount>& cgroups) {
  if (cgroups.empty()) return;
  constexpr unsigned kFlags = kNoSuid | kNoDev | kNoExec;
  const UniqueFd target =
      sys::open_confined(root, "sys/fs/cgroup", O_PATH | O_DIRECTORY, sys::Confine::in_root_nolink);
  if (cgroups.front().directory.empty()) {
    attach_mount(make_file_system("cgroup2", {}, kFlags, "cgroup2").get(), target.get(), "/sys/fs/cgroup");
    return;
  }
  const UniqueFd tmpfs = make_file_system("tmpfs", {{"size", "64k"}, {"mode", "0755"}}, kFlags, "cgroup");
  attach_mount(tmpfs.get(), target.get(), "/sys/fs/cgroup");
  for (const CgroupMount& cgroup : cgroups) {
    MountOptions options;
    for (const std::string& option : cgroup.options) {
      const size_t equals = option.find('=');
      options.emplace_back(option.substr(0, equals),
                           equals == std::string::npos ? "" : option.substr(equals + 1));
    }
    const UniqueFd mount = make_file_system(cgroup.is_v2 ? "cgroup2" : "cgroup", options,
                                            kFlags | (cgroup.writable ? 0U : kReadOnly), cgroup.directory);
    attach_mount(mount.get(), make_directory_in(tmpfs.get(), cgroup.directory, 0755).get(), cgroup.directory);
    // "cpu,cpuacct" is also found under each of its names, as on a host.
    size_t comma = cgroup.directory.find(',');
    for (size_t begin = 0; comma != std::string::npos;
         begin = comma + 1, comma = cgroup.directory.find(',', begin)) {
      const std::string alias = cgroup.directory.substr(begin, comma - begin);
      if (::symlinkat(cgroup.directory.c_str(), tmpfs.get(), alias.c_str()) != 0)
        throw Error::system(fmt::format("link '{}'", alias));
    }
  }
  add_mount_flags(tmpfs.get(), kReadOnly, Depth::one_mount, "/sys/fs/cgroup");
}

void mount_dev(int root, int console) {
  const UniqueFd target = open_mount_point(root, "dev");
  const UniqueFd dev =
      make_file_system("tmpfs", {{"size", "512k"}, {"mode", "0755"}}, kNoSuid | kNoExec, "dev");
  attach_mount(dev.get(), target.get(), "/dev");
  for (const DeviceNode& node : kDeviceNodes) bind_device_node(dev.get(), node);
  for (const DeviceLink& link : kDeviceLinks) {
    if (::symlinkat(link.target, dev.get(), link.name) != 0)
      throw Error::system(fmt::format("link '/dev/{}'", link.name));
  }
  // gid 5 is "tty" in every distribution (LSB); without gid= programs cannot protect their terminals with it.
  mount_in(dev.get(), "pts", "devpts",
           {{"mode", "0620"}, {"gid", "5"}, {"ptmxmode", "0666"}, {"max", "1024"}}, kNoSuid | kNoExec);
  mount_in(dev.get(), "shm", "tmpfs", {{"mode", "1777"}}, kNoSuid | kNoDev | kNoExec);
  mount_in(dev.get(), "mqueue", "mqueue", {}, kNoSuid | kNoDev | kNoExec);
  if (console < 0) return;
  const struct stat status = sys::stat_fd(console, "console");
  if (!S_ISCHR(status.st_mode)) throw Error("the console is not a character device");
  require_file_system(console, DEVPTS_SUPER_MAGIC, "/dev/console");
  const UniqueFd node = sys::open_at(dev.get(), "console", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  attach_mount(console, node.get(), "/dev/console");
}

void mask_paths(int root, SysMode mode) {
  const UniqueFd proc = sys::open_confined(root, "proc", O_PATH | O_DIRECTORY, sys::Confine::in_root_nolink);
  require_file_system(proc.get(), PROC_SUPER_MAGIC, "/proc");
  // Copies are taken before anything is covered; they stay writable below what becomes read-only.
  std::vector<std::pair<std::string, UniqueFd>> sysctls;
  for (const char* path : writable_sysctls()) {
    // With the host's network these would be the host's own.
    if (mode == SysMode::of_host && std::string_view(path).starts_with("/proc/sys/net")) continue;
    if (const auto target = open_below(root, path, O_PATH))
      sysctls.emplace_back(path, copy_mount(target->get(), "", Depth::one_mount));
  }
  for (const char* path : read_only_paths()) make_read_only(root, path);
  for (const auto& [path, copy] : sysctls)
    attach_mount(copy.get(), open_below(root, path, O_PATH)->get(), path);
  Masks masks(root);
  for (const char* path : masked_paths()) masks.cover(path);
}

}  // namespace holm::isolation
