// Saves a running container: its processes by CRIU, and around them what Holm made.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "checkpoint/preflight.h"
#include "runtime/container_store.h"

namespace holm::checkpoint {

enum class Afterwards {
  stop,    // its processes end with the save
  run_on,  // they go on
};

struct SaveOptions {
  std::string tag;
  Afterwards afterwards = Afterwards::stop;
  // Without it the files that the container changed stay where they are, and the checkpoint is true only
  // until they change.
  bool with_files = true;
  // Takes the complete checkpoint in a directory, which is then gone, instead of the store. Where the
  // container stops with the save, it does so only when this has returned.
  std::function<void(const std::string& directory)> deliver;
  // For how long its processes may stand still; without it there is no limit but kFreezeTimeout.
  std::optional<std::chrono::seconds> timeout;
};

struct SaveReport {
  Manifest manifest;
  std::string directory;
  std::chrono::milliseconds frozen{0};  // as measured, from when they stood still until they ran or had ended
  std::vector<Obstacle> losses;         // what of it the checkpoint lacks
};

// Either the checkpoint is there as a whole afterwards or there is none, and the container runs on with all
// of its connections as if nothing had been. Takes the container's lock.
SaveReport save(const runtime::Installation& installation, const std::string& name,
                const SaveOptions& options);

// What `save` would be refused for now, without doing anything. Throws where the container is not running.
PreflightReport check_savable(const runtime::Installation& installation, const std::string& name);

}  // namespace holm::checkpoint
