// Puts other files in the place of those that a container has changed, when a checkpoint brings its own.
// Until the processes that belong to them run, the old ones are kept: whatever happens before, the container
// is as it was.
//
//   upper.PID.new   being filled
//   upper.before    the old ones; their successors' processes have not run yet
//   upper.stale     of no use any more
#pragma once

#include <string>

#include "runtime/container_store.h"

namespace holm::runtime {

// An empty directory for the new ones, as the overlay wants it. The caller holds the container's lock until
// they are in place.
std::string make_new_upper(const Paths& paths, const StoredContainer& container);
void put_upper_in_place(const Paths& paths, const StoredContainer& container, const std::string& upper);
// From here on the new ones are the container's.
void keep_new_upper(const Paths& paths, const std::string& name);
// The old ones back, where they were not let go, and away with what is of no use. For a container that does
// not run.
void settle_upper(const Paths& paths, const std::string& name);

}  // namespace holm::runtime
