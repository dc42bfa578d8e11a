// Changes what a container may use of the shared kernel: in the kernel, now, and in its config, for its next
// starts.
#pragma once

#include <string>
#include <vector>

#include "runtime/config_edit.h"
#include "runtime/config_keys.h"
#include "runtime/container_store.h"

namespace holm::runtime {

// The keys that can be changed: those of [cpu], [memory], [pids], [io] and [limits] that this version has.
std::vector<const ConfigKey*> resource_keys();

// "memory.limit=1G", "cpu.pin=default": resource keys, and their values as the config file has them but
// without quotes; "default" removes a key. Throws a usage error for anything else.
std::vector<KeyChange> parse_changes(const std::vector<std::string>& words);

enum class ChangeScope {
  now_and_saved,  // of a container that does not run: saved
  now,            // until its next start
  saved,          // from its next start on
};

struct ChangeReport {
  bool is_in_force = false;  // the kernel was told, and holds it
  bool is_saved = false;
  std::vector<std::string> warnings;
};

// All of the changes or none: where one fails, the limits are put back and the config stays as it was. Checks
// the whole spec that results before anything is done.
ChangeReport change_resources(const Installation& installation, const std::string& name,
                              const std::vector<KeyChange>& changes, ChangeScope scope);

}  // namespace holm::runtime
