#include "runtime/observe.h"

#include <fmt/core.h>

#include <array>

#include "base/error.h"

namespace holm::runtime {
namespace {

Condition condition_of(const Observation& seen, const Paths& paths, const quotas::CgroupLayout& layout) {
  if (!seen.init) {
    if (!seen.monitor) return Condition::stopped;
    switch (seen.state->phase) {
      case Phase::starting:
        return Condition::starting;
      case Phase::running:
        return Condition::stopping;
      case Phase::restarting:
        return Condition::restarting;
      case Phase::stopped:
        return Condition::stopped;
    }
  }
  const auto cgroup = quotas::make_cgroup(layout, paths.cgroup_parent(), seen.state->number);
  if (!seen.monitor) {
    // A restored one that its monitor held is frozen, and has not run.
    const bool ran_on =
        seen.state->phase == Phase::starting && seen.state->is_complete && !cgroup->is_frozen();
    return seen.state->phase == Phase::running || ran_on ? Condition::orphaned : Condition::stopped;
  }
  if (seen.state->phase == Phase::starting) return Condition::starting;
  return cgroup->is_frozen() ? Condition::paused : Condition::running;
}

}  // namespace

const char* condition_name(Condition condition) {
  constexpr std::array<const char*, 8> kNames = {"stopped",  "starting",   "running",  "paused",
                                                 "stopping", "restarting", "orphaned", "damaged"};
  return kNames[static_cast<size_t>(condition)];
}

Error not_running(const std::string& name) {
  return Error(fmt::format("container '{}' is not running", name))
      .hint(fmt::format("'holm start {}' starts it", name));
}

Observation observe(const Paths& paths, const quotas::CgroupLayout& layout, const std::string& name) {
  Observation seen;
  seen.name = name;
  try {
    seen.state = read_state(paths, name);
    if (!seen.state) return seen;
    if (auto monitor = open_process(seen.state->monitor)) seen.monitor = std::move(*monitor);
    if (auto init = open_process(seen.state->init)) seen.init = std::move(*init);
    seen.condition = condition_of(seen, paths, layout);
  } catch (const Error& error) {
    seen.condition = Condition::damaged;
    seen.problem = error.message();
  }
  return seen;
}

std::vector<Observation> observe_all(const Paths& paths, const quotas::CgroupLayout& layout) {
  std::vector<Observation> all;
  for (const std::string& name : container_names(paths)) all.push_back(observe(paths, layout, name));
  return all;
}

}  // namespace holm::runtime
