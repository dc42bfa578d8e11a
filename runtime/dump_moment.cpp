#include "runtime/dump_moment.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "base/file.h"
#include "base/interruption.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "netsetup/container_link.h"
#include "netsetup/process_sockets.h"
#include "quotas/hierarchy_options.h"
#include "runtime/control.h"
#include "runtime/host_side.h"
#include "runtime/vfork.h"

namespace holm::runtime {
namespace {

// What the mark says.
constexpr const char* kWasPaused = "paused";
constexpr const char* kSavesMemory = "memory";  // and the command's pid
constexpr std::chrono::milliseconds kVforkPatience(10000);
constexpr std::chrono::milliseconds kEnoughSilence(200);  // of a container that runs

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

// A CRIU that found a container frozen thaws it once it has seized all processes, and asks it to freeze
// before it lets them go. Whether it has come to that.
bool await_release(const quotas::Cgroup& cgroup, const std::stop_token& stop) {
  constexpr std::chrono::seconds kPatience(10);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  bool is_seized = false;
  for (;; std::this_thread::sleep_for(std::chrono::milliseconds(1))) {
    if (stop.stop_requested()) return false;
    const bool is_asked = cgroup.is_asked_to_freeze();
    if (is_seized && is_asked) return true;
    if (!is_asked) is_seized = true;
    if (!is_seized && std::chrono::steady_clock::now() > end) return false;
  }
}

Error in_vfork(const Vfork& vfork) {
  const auto name = read_file_if_exists(fmt::format("/proc/{}/comm", vfork.parent));
  return Error(
      fmt::format("process {} on this host, {}, waits in vfork(2) for process {} to begin its program",
                  vfork.parent, quoted(trim(name.value_or(""))), vfork.child));
}

}  // namespace

DumpMoment::DumpMoment(const Installation& installation, const StoredContainer& container,
                       const Observation& seen, Links links)
    : installation_(installation),
      name_(container.name),
      number_(container.identity.number),
      was_paused_(seen.condition == Condition::paused),
      links_(links),
      cgroup_(container_cgroup(installation.paths, number_)) {
  replace_file(mark_path(installation.paths, name_), was_paused_ ? kWasPaused
                                                     : links == Links::as_they_are
                                                         ? fmt::format("{} {}", kSavesMemory, ::getpid())
                                                         : "");
  guard_ = std::make_unique<DumpGuard>(installation, name_);
  if (links == Links::as_they_are) return;
  try {
    step("silence the links", [&] { set_silent(true); });
  } catch (...) {
    ignore_errors([&] { end_dump(installation_, name_); });  // the next command does it
    throw;
  }
}

DumpMoment::~DumpMoment() {
  follower_ = {};
  if (name_.empty()) return;
  if (is_in_doubt_) ignore_errors([&] { let_go(installation_.paths, number_, was_paused_); });  // as above
  ignore_errors([&] { end_dump(installation_, name_); });                                       // as above
}

void DumpMoment::announce_end() {
  step("announce the end", [&] { announce_intent(installation_.paths.runtime(name_), Intent::checkpoint); });
}

void DumpMoment::set_silent(bool silent) {
  if (links_ == Links::as_they_are || silent == is_silent_) return;
  set_bridges(installation_.paths, load_running_container(installation_, name_),
              silent ? "" : installation_.paths.bridge());
  is_silent_ = silent;
}

void DumpMoment::stop(Clock::time_point end) {
  constexpr std::chrono::microseconds kShortestPause(50), kLongestPause(20000);
  constexpr std::chrono::milliseconds kEnough(500);
  auto begin = Clock::now();
  for (auto pause = kShortestPause;; pause = std::min(pause * 2, kLongestPause)) {
    cgroup_->begin_freeze();  // v1 forgets processes that were made meanwhile
    if (cgroup_->is_frozen()) return;
    Interruption::check();
    if (Clock::now() > end)
      throw Error("its processes do not come to a stand")
          .hint("give more time; 'holm check' tells which of them wait for a device (state D)");
    std::this_thread::sleep_for(pause);
    if (was_paused_ || Clock::now() - begin < kEnough) continue;
    // One of them may wait, for a file of FUSE, for another one that stands still already.
    cgroup_->thaw();
    std::this_thread::sleep_for(kLongestPause);
    begin = Clock::now();
    pause = kShortestPause;
  }
}

void DumpMoment::freeze(std::chrono::milliseconds patience) {
  for (const auto begin = Clock::now();;) {
    const auto before = Clock::now();
    stop(before + patience);
    const auto vfork = find_vfork(cgroup_->processes());
    if (!vfork) break;
    if (was_paused_) throw in_vfork(*vfork).hint("it is paused in this moment: let it run for another one");
    cgroup_->thaw();
    Interruption::check();
    if (Clock::now() - begin > kEnoughSilence) set_silent(false);
    if (Clock::now() - begin > std::min(patience, kVforkPatience))
      throw in_vfork(*vfork).hint(
          "there was such a process at each look: try again when it starts fewer programs");
    // They run for half of the time at least.
    std::this_thread::sleep_for(
        std::max<Clock::duration>(Clock::now() - before, std::chrono::milliseconds(1)));
  }
  stand_ = Clock::now();
  set_silent(true);
}

void DumpMoment::thaw_with_criu() {
  follower_ = std::jthread([this](const std::stop_token& stop) {
    ignore_errors([&] {  // the end of the scope thaws, too
      while (!await_release(*cgroup_, stop))
        if (stop.stop_requested()) return;
      thaw();
    });
  });
}

void DumpMoment::thaw() {
  if (was_paused_) return;
  cgroup_->thaw();
  if (!went_on_) went_on_ = Clock::now();
}

void DumpMoment::goes_on() {
  follower_ = {};
  thaw();
  is_in_doubt_ = false;
}

std::chrono::milliseconds DumpMoment::stood() const {
  if (!stand_) return {};
  return std::chrono::duration_cast<std::chrono::milliseconds>(went_on_.value_or(Clock::now()) - *stand_);
}

void DumpMoment::has_ended() {
  ignore_errors([&] { cgroup_->thaw(); });  // v1's freezer keeps even the killed; the monitor does it, too
  ignore_errors([&] { sys::remove_file(mark_path(installation_.paths, name_)); });  // as above
  name_.clear();
}

void let_run_while_memory_is_saved(const Installation& installation, const std::string& name,
                                   const std::stop_token& stop) {
  const std::string path = mark_path(installation.paths, name);
  const auto mark = read_file_if_exists(path);
  if (!mark || !mark->starts_with(kSavesMemory)) return;
  const auto cgroup =
      container_cgroup(installation.paths, load_running_container(installation, name).identity.number);
  // In vain where CRIU had let go already.
  await_release(*cgroup, stop);
  if (!stop.stop_requested() && read_file_if_exists(path) == mark) cgroup->thaw();
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
