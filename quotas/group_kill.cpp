#include "quotas/group_kill.h"

#include <fmt/core.h>
#include <signal.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/sys.h"
#include "quotas/control_file.h"
#include "quotas/group_tree.h"

namespace holm::quotas {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// Signals each process that is in the tree. A pid may go to a process elsewhere between the reading of the
// list and the signal: each process is therefore held by a pidfd first, and signalled only if the list names
// its pid still. In batches, so that a crowd does not use up our descriptors.
void signal_all(const std::string& directory) {
  constexpr size_t kBatch = 256;
  const std::vector<pid_t> pids = tree_processes(directory);
  for (size_t start = 0; start < pids.size(); start += kBatch) {
    std::vector<std::pair<pid_t, UniqueFd>> held;
    for (size_t i = start; i < std::min(pids.size(), start + kBatch); ++i)
      if (auto fd = sys::pidfd_open_if_alive(pids[i])) held.emplace_back(pids[i], std::move(*fd));
    const std::vector<pid_t> still = tree_processes(directory);
    for (const auto& [pid, fd] : held)
      if (std::binary_search(still.begin(), still.end(), pid)) sys::pidfd_signal(fd.get(), SIGKILL);
  }
}

// Processes that v1's freezer holds do not even die before they are thawed. Somebody else may have frozen
// them (CRIU).
void thaw_all(const std::vector<std::unique_ptr<Group>>& groups) {
  for (const auto& group : groups)
    if (!group->is_v2() && group->can_freeze()) group->write_frozen(false);
}

// Freezing keeps a fork bomb from outrunning the signals; it need not be complete to help.
void kill_once(const std::vector<std::unique_ptr<Group>>& groups, Group& tracker) {
  if (tracker.kill_at_once()) return thaw_all(groups);
  std::vector<Group*> freezers;
  for (const auto& group : groups)
    if (group->can_freeze()) freezers.push_back(group.get());
  for (Group* group : freezers) group->write_frozen(true);
  signal_all(tracker.directory());
  for (Group* group : freezers) group->write_frozen(false);
}

bool is_empty(const Group& tracker) {
  if (const auto populated = read_keyed(tracker.file("cgroup.events"), "populated")) return *populated == 0;
  return tree_processes(tracker.directory()).empty();
}

}  // namespace

void kill_groups(const std::vector<std::unique_ptr<Group>>& groups, Group& tracker,
                 std::chrono::milliseconds timeout) {
  const auto end = Clock::now() + timeout;
  while (tracker.exists() && !is_empty(tracker)) {
    kill_once(groups, tracker);
    for (const auto& group : groups)
      if (group->has_io()) group->lift_io();  // what waits for its turn at a disk dies only then
    // The dying take a moment; whatever joined meanwhile is met in the next round.
    for (auto pause = 100us; pause <= 30ms && !is_empty(tracker); pause *= 2) {
      if (Clock::now() >= end) {
        const std::vector<pid_t> left = tree_processes(tracker.directory());
        throw Error(fmt::format("kill all processes of cgroup '{}': {} left after {} ms, the first is {}",
                                tracker.directory(), left.size(), timeout.count(),
                                left.empty() ? 0 : left.front()))
            .hint("a process that waits in the kernel (disk, network file system) dies when that wait ends");
      }
      std::this_thread::sleep_for(pause);
    }
  }
}

}  // namespace holm::quotas
