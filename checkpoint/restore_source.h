// The InitSource of a restored container: what `launch` is for a started one.
#pragma once

#include <string>

#include "runtime/init_source.h"

namespace holm::checkpoint {

// Brings back the processes of the checkpoint in `directory`, whose parts were verified, into the container
// of the request. With `paused` not one of them has run when it returns.
struct RestoreSource {
  std::string directory;
  std::string upper;          // as MonitorOptions
  bool new_identity = false;  // as MonitorOptions
  bool paused = false;
  runtime::RunningInit operator()(runtime::LaunchRequest& request, UndoStack& undo) const;
};

}  // namespace holm::checkpoint
