// The checkpoint that `stop --checkpoint` leaves beside the files of a container, and that its next start
// goes on from. It is true only as long as nothing has run since. So it bears a mark from before its
// processes could have run on until it is known that they ended, and again from the moment on from which they
// may run.
#pragma once

#include <string>

#include "runtime/paths.h"

namespace holm::runtime {

inline constexpr const char* kSuspendedTag = "suspended";
inline constexpr const char* kUntrueMark = "untrue";

std::string checkpoint_store(const Paths& paths, const std::string& name);
// Where memory of a running container is kept for its next checkpoint (checkpoint/pre_dump.h).
std::string pre_dump_store(const Paths& paths, const std::string& name);
std::string suspended_directory(const Paths& paths, const std::string& name);
// Whether there is one that is true.
bool is_suspended(const Paths& paths, const std::string& name);

// Away with drafts of checkpoints that killed commands left.
void remove_checkpoint_drafts(const Paths& paths, const std::string& name);
// The same, and away with a mark where the run is
// known to have ended in this very checkpoint. The caller holds the container's lock.
void settle_checkpoints(const Paths& paths, const std::string& name);
// Away with memory that was saved of an earlier run.
void drop_pre_dumps(const Paths& paths, const std::string& name);
// Away with it, as the container runs otherwise.
void drop_suspended(const Paths& paths, const std::string& name);

}  // namespace holm::runtime
