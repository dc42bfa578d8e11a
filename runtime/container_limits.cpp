#include "runtime/container_limits.h"

#include <fmt/core.h>

#include "base/text.h"
#include "isolation/resource_limits.h"
#include "quotas/device_finder.h"

namespace holm::runtime {
namespace {

// Where the files of the root lie, outermost first: what is written goes to the first.
std::vector<std::string> root_directories(const Paths& paths, const ContainerSpec& spec) {
  const RootSpec& root = spec.root;
  if (root.kind == RootKind::directory) return {root.directory};
  return {paths.container(spec.name) + "/upper",
          fmt::format("{}/{}/root", paths.templates(), root.template_name)};
}

void find_io_devices(const Paths& paths, const ContainerSpec& spec, quotas::IoLimits& io,
                     std::vector<std::string>& warnings) {
  quotas::DeviceFinder finder(quotas::host_device_facts());
  for (const std::string& directory : root_directories(paths, spec)) {
    if (finder.add(directory)) continue;
    const std::string type = finder.file_system(directory);
    warnings.push_back(fmt::format("{} on '{}': {} has no block device",
                                   quotas::without_effect(quotas::io_keys(io)), directory,
                                   type.empty() ? "its file system" : type));
  }
  for (const MountSpec& mount : spec.mounts) finder.add(mount.source);
  io.devices = finder.devices();
}

}  // namespace

std::vector<std::string> apply_limits(const Paths& paths, const ContainerSpec& spec, quotas::Cgroup& cgroup) {
  quotas::Limits limits = spec.limits;
  std::vector<std::string> warnings;
  if (!quotas::io_keys(limits.io).empty()) find_io_devices(paths, spec, limits.io, warnings);
  const std::vector<std::string> more = cgroup.apply(limits);
  warnings.insert(warnings.end(), more.begin(), more.end());
  return warnings;
}

void change_process_limits(const quotas::Cgroup& cgroup, const std::string& name, rlim_t hard,
                           const rlimit& wanted) {
  for (const pid_t process : cgroup.processes())
    isolation::change_resource_limit(name, process, hard, wanted);
}

}  // namespace holm::runtime
