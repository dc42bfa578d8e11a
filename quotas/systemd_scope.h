// Holm's place on a host whose groups belong to systemd: one scope unit per installation, delegated, made
// with the first monitor and removed by systemd with the last process in it.
//
//   machine.slice/holm.scope            has no processes of its own, as v2 enables controllers only for such
//   machine.slice/holm.scope/monitors   the monitors, out of reach of their starters' sessions and services
//   machine.slice/holm.scope/7          container 7
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "quotas/cgroup.h"
#include "quotas/systemd_bus.h"

namespace holm::quotas {

inline constexpr const char* kMonitorsGroup = "monitors";

// "holm.scope".
std::string scope_unit(const std::string& parent_name);

// True where systemd keeps groups of its units in this hierarchy: it alone makes and removes them there.
bool is_used_by_systemd(const CgroupLayout::Hierarchy& hierarchy);

// True where one of the groups in a text of /proc/PID/cgroup is the unit's or nested in it.
bool is_in_unit(std::string_view proc_cgroup, std::string_view unit);

using StartScope = std::function<ScopeStart(const std::string& unit, pid_t process)>;

// fork(2) of a single-threaded process where the new one, a monitor, stands in the installation's scope from
// its first return on; asks systemd for the scope where there is none. On other hosts a plain fork.
// `lock_path`: a file of the installation, locked meanwhile. Throws where the scope cannot be had, never in
// the new process.
pid_t fork_into_scope(const CgroupLayout& layout, const std::string& parent_name,
                      const std::string& lock_path, const StartScope& start_scope = start_scope_by_bus);

}  // namespace holm::quotas
