// What a container is doing now, as the kernel tells it; state files only say where to look.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "quotas/cgroup.h"
#include "runtime/container_store.h"
#include "runtime/state.h"

namespace holm::runtime {

enum class Condition {
  stopped,
  starting,
  running,
  paused,
  stopping,    // init has ended; its monitor takes down what it had
  restarting,  // waits for its next start after a crash
  orphaned,    // runs, but its monitor was killed: the next command adopts it
  damaged,     // its files cannot be read
};
const char* condition_name(Condition condition);

struct Observation {
  std::string name;
  Condition condition = Condition::stopped;
  std::optional<State> state;  // as recorded; nothing where it never ran or cannot be read
  UniqueFd init;               // a pidfd, where init lives
  UniqueFd monitor;            // a pidfd, where the monitor lives
  std::string problem;         // why it is damaged
  bool has_init() const { return static_cast<bool>(init); }
};

// What a verb says that needs a running container.
Error not_running(const std::string& name);

// Looks at one container. Never throws for what is wrong with the container itself: that is `damaged` with a
// problem.
Observation observe(const Paths& paths, const quotas::CgroupLayout& layout, const std::string& name);
std::vector<Observation> observe_all(const Paths& paths, const quotas::CgroupLayout& layout);

}  // namespace holm::runtime
