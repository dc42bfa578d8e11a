#include "runtime/restore_moment.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <chrono>
#include <csignal>

#include "base/file.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/dump_moment.h"
#include "runtime/host_side.h"

namespace holm::runtime {
namespace {

constexpr std::chrono::milliseconds kPatience(2000);

std::string mark_path(const Paths& paths, const std::string& name) {
  return paths.runtime(name) + "/restoring";
}

bool writes_to(const std::string& pid, const struct stat& output) {
  struct statx status = {};  // without a question to a FUSE server of some container's
  const std::string path = "/proc/" + pid + "/fd/1";
  return ::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_INO, &status) == 0 &&
         ::makedev(status.stx_dev_major, status.stx_dev_minor) == output.st_dev &&
         status.stx_ino == output.st_ino;
}

void kill_criu(const Paths& paths, const std::string& name) {
  const auto output = sys::stat_path(paths.runtime(name) + "/" + kCriuOutput);
  // One that forked while the list was read is found by the next look.
  for (bool found = output.has_value(); found;) {
    found = false;
    for (const std::string& pid : list_directory("/proc")) {
      if (!parse_unsigned(pid) || !writes_to(pid, *output)) continue;
      const auto process = sys::pidfd_open_if_alive(static_cast<pid_t>(*parse_unsigned(pid)));
      if (!process || !writes_to(pid, *output)) continue;
      sys::pidfd_signal(process->get(), SIGKILL);
      found = sys::pidfd_wait_ended(process->get(), kPatience) || found;
    }
  }
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
    if (cgroup->exists()) cgroup->kill_all(5 * kPatience);
    kill_criu(installation.paths, name);
    sys::remove_file(mark);
  });
}

void keep_forgotten_restore(const Installation& installation, const std::string& name) {
  const std::string mark = mark_path(installation.paths, name);
  if (!sys::exists(mark)) return;
  kill_criu(installation.paths, name);
  sys::remove_file(mark);
}

}  // namespace holm::runtime
