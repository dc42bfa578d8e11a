// The host half of a start: from a stored container to a running init.
#pragma once

#include "runtime/init_source.h"

namespace holm::runtime {

// The InitSource of a start: returns when execve has succeeded.
RunningInit launch(LaunchRequest& request, UndoStack& undo);

}  // namespace holm::runtime
