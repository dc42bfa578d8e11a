#include "runtime/dump_moment.h"

#include <chrono>
#include <thread>

#include "base/file.h"
#include "base/step.h"
#include "base/sys.h"
#include "netsetup/container_link.h"
#include "netsetup/process_sockets.h"
#include "quotas/hierarchy_options.h"
#include "runtime/control.h"
#include "runtime/host_side.h"

namespace holm::runtime {
namespace {

constexpr const char* kWasPaused = "paused";

std::string mark_path(const Paths& paths, const std::string& name) { return paths.runtime(name) + "/dump"; }

void set_bridges(const Paths& paths, const StoredContainer& container, const std::string& bridge) {
  const auto& networks = container.config.spec.networks;
  for (unsigned index = 0; index < networks.size(); ++index)
    if (networks[index].mode == netsetup::NicMode::nat)
      netsetup::set_bridge(paths.veth(container.identity.number, index), bridge);
}

void end_dump(const Installation& installation, const std::string& name) {
  announce_intent(installation.paths.runtime(name), Intent::none);
  set_bridges(installation.paths, load_running_container(installation, name), installation.paths.bridge());
  sys::remove_file(mark_path(installation.paths, name));
}

// What a CRIU that was killed left of what it does to processes.
void let_go(const Paths& paths, uint32_t number, bool was_paused) {
  const auto cgroup = container_cgroup(paths, number);
  netsetup::leave_tcp_repair(cgroup->processes());
  if (!was_paused) cgroup->thaw();
}

}  // namespace

DumpMoment::DumpMoment(const Installation& installation, const StoredContainer& container,
                       const Observation& seen, Links links)
    : installation_(installation),
      name_(container.name),
      number_(container.identity.number),
      was_paused_(seen.condition == Condition::paused),
      cgroup_(container_cgroup(installation.paths, number_)) {
  replace_file(mark_path(installation.paths, name_), seen.condition == Condition::paused ? kWasPaused : "");
  guard_ = std::make_unique<DumpGuard>(installation, name_);
  if (links == Links::as_they_are) return;
  try {
    step("silence the links", [&] { set_bridges(installation.paths, container, ""); });
  } catch (...) {
    ignore_errors([&] { end_dump(installation_, name_); });  // the next command does it
    throw;
  }
}

DumpMoment::~DumpMoment() {
  if (name_.empty()) return;
  if (is_in_doubt_) ignore_errors([&] { let_go(installation_.paths, number_, was_paused_); });  // as above
  ignore_errors([&] { end_dump(installation_, name_); });                                       // as above
}

void DumpMoment::announce_end() {
  step("announce the end", [&] { announce_intent(installation_.paths.runtime(name_), Intent::checkpoint); });
}

bool DumpMoment::freeze() {
  constexpr std::chrono::milliseconds kPatience(500);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  auto pause = std::chrono::microseconds(50);
  for (cgroup_->begin_freeze(); !cgroup_->is_frozen(); pause *= 2) {
    if (std::chrono::steady_clock::now() > end) {
      if (!was_paused_) cgroup_->thaw();
      return false;
    }
    std::this_thread::sleep_for(pause);
  }
  return true;
}

void DumpMoment::goes_on() {
  if (!was_paused_) cgroup_->thaw();
  is_in_doubt_ = false;
}

void DumpMoment::has_ended() {
  ignore_errors([&] { cgroup_->thaw(); });  // v1's freezer keeps even the killed; the monitor does it, too
  ignore_errors([&] { sys::remove_file(mark_path(installation_.paths, name_)); });  // as above
  name_.clear();
}

void silence_links(const Installation& installation, const std::string& name) {
  set_bridges(installation.paths, load_running_container(installation, name), "");
}

void end_forgotten_dump(const Installation& installation, const Observation& seen) {
  const std::string mark = mark_path(installation.paths, seen.name);
  const auto text = read_file_if_exists(mark);
  if (!text) return;
  ignore_errors([] { quotas::restore_hierarchy_options(); });  // nothing of the container's depends on them
  if (!seen.has_init()) {
    sys::remove_file(mark);
    return;
  }
  step("let go on what a killed command was saving", [&] {
    let_go(installation.paths, seen.state->number, *text == kWasPaused);
    end_dump(installation, seen.name);
  });
}

}  // namespace holm::runtime
