// The container half of a start: what the new process does from clone3 to execve.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "isolation/root_mounts.h"
#include "netsetup/container_link.h"
#include "runtime/handshake.h"
#include "runtime/spec.h"

namespace holm::runtime {

// Where the payload's standard streams lead.
struct StdioPlan {
  UniqueFd streams[3];     // pipes of the monitor; empty: the console
  UniqueFd console;        // the pty slave on the host's devpts; empty: no console
  UniqueFd console_mount;  // a detached mount of it, for /dev/console
};

// A file of names that the host writes at each start: "etc/resolv.conf", "etc/hosts", "etc/hostname".
struct NameFile {
  std::string path;
  std::string content;
  bool over_own = false;  // also where the container has content of its own
};

// The first line of such files; without it a file is the container's own.
inline constexpr std::string_view kNameFileMark =
    "# Written by Holm at each start; without this line it leaves the file alone.\n";

// All that the container half needs, resolved on the host beforehand.
struct InitPlan {
  const ContainerSpec* spec = nullptr;
  std::string root_path;               // where the monitor mounted the root, in its own mount namespace
  std::vector<UniqueFd> cgroup_tasks;  // quotas::CgroupEntry::v1_tasks
  std::vector<isolation::CgroupMount> cgroup_mounts;
  std::vector<netsetup::LinkPlan> links;
  std::vector<NameFile> name_files;
  StdioPlan stdio;
};

// Runs in: the new user, pid, ipc, uts, net and time namespaces; the host's root; all capabilities over the
// new user namespace. Never returns: ends in execve, or in an Error sent through `channel`.
[[noreturn]] void run_init(InitPlan& plan, Channel& channel);

}  // namespace holm::runtime
