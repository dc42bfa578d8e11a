#include "runtime/restore_moment.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <chrono>

#include "base/file.h"
#include "base/process.h"
#include "base/step.h"
#include "base/sys.h"
#include "quotas/hierarchy_options.h"
#include "runtime/container_limits.h"
#include "runtime/dump_moment.h"
#include "runtime/host_side.h"

namespace holm::runtime {
namespace {

constexpr std::chrono::seconds kPatience(10);

std::string mark_path(const Paths& paths, const std::string& name) {
  return paths.runtime(name) + "/restoring";
}

bool writes_to(pid_t pid, const struct stat& output) {
  struct statx status = {};  // without a question to a FUSE server of some container's
  const std::string path = fmt::format("/proc/{}/fd/1", pid);
  return ::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_INO, &status) == 0 &&
         ::makedev(status.stx_dev_major, status.stx_dev_minor) == output.st_dev &&
         status.stx_ino == output.st_ino;
}

void kill_criu(const Paths& paths, const std::string& name) {
  ignore_errors([] { quotas::restore_hierarchy_options(); });  // nothing of the container's depends on them
  const auto output = sys::stat_path(paths.runtime(name) + "/" + kCriuOutput);
  if (output) kill_processes([&](pid_t pid) { return writes_to(pid, *output); });
}

}  // namespace

RestoreMoment::RestoreMoment(const Paths& paths, const std::string& name) : mark_(mark_path(paths, name)) {
  replace_file(mark_, "");
}

RestoreMoment::~RestoreMoment() {
  ignore_errors([&] { sys::remove_file(mark_); });  // the next command finds it, and nothing to kill
}

void end_forgotten_restore(const Installation& installation, const std::string& name) {
  const std::string mark = mark_path(installation.paths, name);
  if (!sys::exists(mark)) return;
  step("end what a killed monitor was restoring", [&] {
    // Its connections go on when it is restored again.
    ignore_errors([&] { silence_links(installation, name); });  // there are none yet
    const auto cgroup = container_cgroup(installation.paths, load_identity(installation.paths, name).number);
    // Before CRIU, which may hold them.
    if (cgroup->exists()) cgroup->kill_all(kPatience);
    kill_criu(installation.paths, name);
    sys::remove_file(mark);
  });
}

void keep_forgotten_restore(const Installation& installation, const std::string& name) {
  const std::string mark = mark_path(installation.paths, name);
  if (!sys::exists(mark)) return;
  kill_criu(installation.paths, name);
  const StoredContainer container = load_running_container(installation, name);
  const auto cgroup = container_cgroup(installation.paths, container.identity.number);
  apply_limits(installation.paths, container.config.spec, *cgroup);  // which were eased for CRIU
  sys::remove_file(mark);
}

}  // namespace holm::runtime
