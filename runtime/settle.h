// What was left undone by a monitor or a command that was killed.
#pragma once

#include <chrono>
#include <string>

#include "runtime/container_store.h"
#include "runtime/observe.h"

namespace holm::runtime {

// How long a monitor may take to clean up after its init ended, before the command does it in its place.
inline constexpr std::chrono::milliseconds kMonitorPatience(15000);

// `observe` of this host as it is now.
Observation look(const Installation& installation, const std::string& name);

// Brings one container's record in line with the kernel after a monitor or a command was killed: a running
// container without monitor is adopted, what is left of a dead one is removed. The caller holds the
// container's lock.
void settle(const Installation& installation, const std::string& name);

// Gives a running container whose monitor was killed a new one; for verbs that otherwise need no lock.
void adopt_if_orphaned(const Installation& installation, const std::string& name);

}  // namespace holm::runtime
