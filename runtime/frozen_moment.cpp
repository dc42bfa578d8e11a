#include "runtime/frozen_moment.h"

#include "base/file.h"
#include "base/step.h"
#include "base/sys.h"
#include "runtime/host_side.h"

namespace holm::runtime {
namespace {

// Tells a moment from a pause that somebody asked for: a file that is there before the container freezes and
// goes after it thawed.
std::string mark_path(const Paths& paths, const std::string& name) { return paths.runtime(name) + "/frozen"; }

}  // namespace

FrozenMoment::FrozenMoment(const Paths& paths, const std::string& name, quotas::Cgroup& cgroup)
    : cgroup_(cgroup) {
  if (cgroup.is_frozen()) return;
  const std::string mark = mark_path(paths, name);
  replace_file(mark, "");
  try {
    step("freeze for a moment", [&] { cgroup.freeze(); });
  } catch (...) {
    ignore_errors([&] { sys::remove_file(mark); });  // the next command finds it, and nothing to thaw
    throw;
  }
  mark_ = mark;
}

FrozenMoment::~FrozenMoment() {
  if (mark_.empty()) return;
  ignore_errors([&] {  // the next command thaws it
    cgroup_.thaw();
    sys::remove_file(mark_);
  });
}

void end_forgotten_moment(const Paths& paths, const std::string& name, uint32_t number) {
  const std::string mark = mark_path(paths, name);
  if (!sys::exists(mark)) return;
  step("thaw what a killed command froze", [&] {
    container_cgroup(paths, number)->thaw();
    sys::remove_file(mark);
  });
}

}  // namespace holm::runtime
