#include "runtime/host_check.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"
#include "isolation/id_map.h"
#include "isolation/mount_api.h"
#include "netsetup/host_network.h"
#include "quotas/cgroup.h"
#include "quotas/device_finder.h"
#include "quotas/systemd_bus.h"
#include "runtime/criu_program.h"

namespace holm::runtime {
namespace {

// Runs an attempt in a child, so that what it makes ends with it; empty where it worked, else the reason.
std::string try_in_child(const std::function<void()>& attempt) {
  sys::Pipe pipe = sys::pipe();
  const pid_t child = ::fork();
  if (child < 0) return describe_errno(errno);
  if (child == 0) {
    try {
      attempt();
    } catch (const std::exception& failure) {
      ignore_errors(
          [&] { sys::write_all(pipe.write_end.get(), failure.what(), "pipe"); });  // the parent sees status 1
      ::_exit(1);
    }
    ::_exit(0);
  }
  pipe.write_end.reset();
  const std::string reason = read_fd(pipe.read_end.get(), "pipe");
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0 ? "" : reason.empty() ? "it crashed" : reason;
}

Finding needed(const std::string& what, const std::string& cure, const std::function<void()>& attempt) {
  const std::string reason = try_in_child(attempt);
  if (reason.empty()) return {what, Verdict::ok, "", ""};
  return {what, Verdict::missing, reason, cure};
}

void try_namespaces() {
  sys::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET |
                   CLONE_NEWCGROUP,
               "namespaces");
}

std::string existing_part(std::string path) {
  while (!sys::exists(path)) path = path.substr(0, std::max<size_t>(path.rfind('/'), 1));
  return path;
}

// A copy of the mount on which the directory lies, or will lie, with ids mapped as for a container.
UniqueFd copy_mapped(const std::string& directory) {
  const UniqueFd user_namespace = isolation::make_user_namespace_fd({1 << 20, 65536});
  const std::string existing = existing_part(directory);
  UniqueFd copy = isolation::copy_mount(AT_FDCWD, existing, isolation::Depth::one_mount);
  isolation::set_mount_id_map(copy.get(), user_namespace.get(), isolation::Depth::one_mount, existing);
  return copy;
}

// An overlay whose lower layer is the state directory's file system, id-mapped, with the options that
// checkpoints need. Its upper layer is a tmpfs in a private mount namespace: nothing is written elsewhere.
void try_overlay(const std::string& state) {
  sys::unshare(CLONE_NEWNS, "mount namespace");
  isolation::make_mounts_private();
  const UniqueFd lower = copy_mapped(state);
  const UniqueFd target = sys::open("/tmp", O_PATH | O_DIRECTORY);
  isolation::attach_mount(isolation::make_file_system("tmpfs", {}, 0, "tmpfs").get(), target.get(), "/tmp");
  for (const char* path : {"/tmp/mapped", "/tmp/upper", "/tmp/work"}) sys::make_directory(path, 0755);
  isolation::attach_mount(lower.get(), sys::open("/tmp/mapped", O_PATH).get(), "/tmp/mapped");
  isolation::make_file_system("overlay",
                              {{"lowerdir", "/tmp/mapped"},
                               {"upperdir", "/tmp/upper"},
                               {"workdir", "/tmp/work"},
                               {"index", "on"},
                               {"nfs_export", "on"}},
                              0, "overlay");
}

// Where containers on templates have their files, as far as [io] reaches there.
void check_disks(const std::string& state, const quotas::CgroupLayout& layout,
                 std::vector<Finding>& findings) {
  quotas::DeviceFinder finder(quotas::host_device_facts());
  const std::string existing = existing_part(state);
  if (!finder.add(existing))
    findings.push_back({"resource limits", Verdict::limited,
                        fmt::format("io.*: '{}' lies on {}, which has no block device", existing,
                                    finder.file_system(existing)),
                        "put the state directory on a disk"});
  for (const quotas::BlockDevice& disk : finder.devices().disks) {
    const std::string reason = quotas::why_weight_has_no_effect(layout, disk);
    if (!reason.empty())
      findings.push_back({"resource limits", Verdict::limited,
                          fmt::format("io.weight: no effect on {}: {}", disk.name, reason), ""});
  }
}

void check_cgroups(const Paths& paths, std::vector<Finding>& findings) {
  findings.push_back(
      needed("control groups", "mount cgroup v2 on /sys/fs/cgroup", [] { quotas::detect_cgroup_layout(); }));
  if (findings.back().verdict != Verdict::ok) return;
  const auto layout = quotas::detect_cgroup_layout();
  findings.back().detail = quotas::describe_layout(layout, paths.cgroup_parent());
  if (layout.manager == quotas::CgroupLayout::Manager::systemd)
    findings.push_back(
        needed("a scope from systemd", "apt-get install dbus libsystemd0", [] { quotas::check_systemd(); }));
  for (const std::string& missing : quotas::missing_features(layout))
    findings.push_back({"resource limits", Verdict::limited, missing, ""});
  check_disks(paths.state, layout, findings);
}

Finding check_time_namespace() {
  if (sys::exists("/proc/self/ns/time_for_children")) return {"time namespaces", Verdict::ok, "", ""};
  return {"time namespaces", Verdict::limited, "clocks will jump when a container is restored",
          "a kernel from 5.6 on with CONFIG_TIME_NS"};
}

Finding check_resource_capability() {
  if (::prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 1) return {"CAP_SYS_RESOURCE", Verdict::ok, "", ""};
  return {"CAP_SYS_RESOURCE", Verdict::limited, "[limits] cannot exceed the host's own hard limits",
          "start Holm with all capabilities of root"};
}

Finding check_ids(const Installation& installation) {
  const IdBlock block = id_block(installation.settings, installation.paths.installation());
  const std::string what = fmt::format("host ids {}-{} for containers", block.first, block.end() - 1);
  for (const char* file : {"/etc/subuid", "/etc/subgid"}) {
    const auto text = read_file_if_exists(file);
    const auto owner = text ? find_subuid_overlap(block, *text) : std::nullopt;
    if (owner)
      return {what, Verdict::limited, fmt::format("'{}' gives some of them to '{}'", file, *owner),
              "set ids.first in " + installation.paths.host_config};
  }
  return {what, Verdict::ok, "", ""};
}

Finding check_program(const std::string& name, const std::string& purpose, const std::string& cure) {
  const bool found = !find_program(name).empty();
  return {fmt::format("program '{}'", name), found ? Verdict::ok : Verdict::limited, found ? "" : purpose,
          found ? "" : cure};
}

Finding check_criu() {
  std::string program;
  try {
    program = criu_program();
  } catch (const Error& error) {
    return {"CRIU", Verdict::limited, error.message(), "set HOLM_CRIU to a program, or not at all"};
  }
  const std::string cure = "run scripts/setup, which puts a CRIU that fits this kernel beside the system's";
  if (program.empty())
    return {"CRIU", Verdict::limited, "there is none; checkpoints will not be available", cure};
  const ProgramResult result = run_program({program, "check"});
  if (result.exit_status == 0) return {"CRIU", Verdict::ok, program, ""};
  return {"CRIU", Verdict::limited,
          fmt::format("'{} check' fails: {}", program, printable(trim(result.errors.substr(0, 200)))), cure};
}

}  // namespace

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return "ok";
    case Verdict::limited:
      return "limited";
    case Verdict::missing:
      return "MISSING";
  }
  return "?";
}

std::vector<Finding> check_host(const Installation& installation) {
  std::vector<Finding> findings;
  findings.push_back(needed(
      "namespaces", "a kernel with CONFIG_NAMESPACES and USER_NS; raise /proc/sys/user/max_*_namespaces",
      try_namespaces));
  const std::string& state = installation.paths.state;
  findings.push_back(needed(fmt::format("id-mapped mounts of '{}'", state),
                            "put the state directory on ext4, xfs or btrfs", [&] { copy_mapped(state); }));
  findings.push_back(needed("overlayfs on an id-mapped layer", "a kernel from 5.19 on with CONFIG_OVERLAY_FS",
                            [&] { try_overlay(state); }));
  check_cgroups(installation.paths, findings);
  for (const std::string& missing : netsetup::missing_features())
    findings.push_back({"network", Verdict::limited, missing, ""});
  findings.push_back(check_time_namespace());
  findings.push_back(check_resource_capability());
  findings.push_back(check_ids(installation));
  findings.push_back(
      check_program("busybox", "'holm template build busybox' needs it", "apt-get install busybox-static"));
  findings.push_back(check_program("mmdebstrap", "'holm template build debian' needs it or debootstrap",
                                   "apt-get install mmdebstrap"));
  findings.push_back(check_criu());
  return findings;
}

}  // namespace holm::runtime
