// Brings a saved container back.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checkpoint/progress.h"
#include "runtime/lifecycle.h"

namespace holm::checkpoint {

struct RestoreOptions {
  bool paused = false;
  std::string new_name;  // of a file: another container than the one that was saved; empty: the same
  Progress progress;
};

struct RestoreReport {
  runtime::State state;
  std::vector<std::string> warnings;
};

// Nothing runs afterwards where these fail, the container's files are as they were, and so is the checkpoint.

// From the container's own store.
RestoreReport restore_tag(const runtime::Installation& installation, const std::string& name,
                          const std::string& tag, const RestoreOptions& options);

// What `holm start` does: goes on from where `stop --checkpoint` stopped it, else starts it anew. `fresh`:
// gives up what is in that checkpoint, if there is one.
RestoreReport start_or_go_on(const runtime::Installation& installation, const std::string& name, bool fresh);

// From one file, which is read from the descriptor to its end. The container is made where there is none of
// its name.
RestoreReport restore_file(const runtime::Installation& installation, int input,
                           const RestoreOptions& options);

// A second container from a running one, which goes on: with the same processes and files, and addresses of
// its own.
RestoreReport clone_live(const runtime::Installation& installation, const std::string& name,
                         const std::string& new_name);

}  // namespace holm::checkpoint
