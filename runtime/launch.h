// The host half of a start: from a stored container to a running init.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/undo.h"
#include "quotas/cgroup.h"
#include "runtime/container_store.h"
#include "runtime/init.h"
#include "runtime/state.h"

namespace holm::runtime {

struct RunningInit {
  UniqueFd pidfd;
  ProcessId process;
  std::vector<std::string> addresses;  // "10.0.3.10", "fd00::10"
  std::vector<std::string> warnings;
};

struct LaunchRequest {
  const Installation* installation = nullptr;
  const StoredContainer* container = nullptr;
  StdioPlan stdio;
  // Told as soon as init exists, before it does anything: a later crash of ours must not lose it.
  std::function<void(const ProcessId&)> on_created;
};

// Makes everything that `request` describes and returns when execve has succeeded. Whatever it made is
// registered in `undo`; the caller dismisses it when it takes over. Must run in a mount namespace of its own
// (enter_private_mounts), in a single-threaded process that becomes init's parent.
RunningInit launch(LaunchRequest& request, UndoStack& undo);

// Makes the mount namespace that launch mounts the root in: the host's mounts go on following the host's
// changes.
void enter_private_mounts();
// Unmounts what launch mounted there, after the container ended.
void release_root(const std::string& run_directory);

// The cgroup of a container of this installation.
std::unique_ptr<quotas::Cgroup> container_cgroup(const Paths& paths, uint32_t number);

}  // namespace holm::runtime
