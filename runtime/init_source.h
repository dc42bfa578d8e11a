// Where a monitor's init comes from: a start (launch.h), or a checkpoint that is restored.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/undo.h"
#include "runtime/container_store.h"
#include "runtime/init.h"
#include "runtime/state.h"

namespace holm::runtime {

struct RunningInit {
  UniqueFd pidfd;
  ProcessId process;
  std::vector<std::string> addresses;  // "10.0.3.10", "fd00::10"
  std::vector<std::string> warnings;
  int64_t started_at = 0;  // seconds since the epoch; of a restored one, as if it had not been away
};

struct LaunchRequest {
  const Installation* installation = nullptr;
  const StoredContainer* container = nullptr;
  StdioPlan stdio;
  // The socket at whose other end a command waits for the start; -1: nobody waits. Work that may take long is
  // given up when that has hung up (handshake.h).
  int caller = -1;
  // Told as soon as init exists, before it does anything: a later crash of ours must not lose it.
  std::function<void(const ProcessId&)> on_created;
  // By a source that holds init until all is made: told when init's processes are whole and would run on
  // without us, and before they do.
  std::function<void()> on_whole;
  std::function<void(const RunningInit&)> before_it_runs;
};

// Makes all that `request` describes and returns when init runs. Whatever it made is registered in `undo`;
// the caller dismisses it when it takes over. Called in a mount namespace of its own (enter_private_mounts),
// in a single-threaded process that becomes init's parent.
using InitSource = std::function<RunningInit(LaunchRequest& request, UndoStack& undo)>;

}  // namespace holm::runtime
