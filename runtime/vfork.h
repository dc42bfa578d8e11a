// Processes that wait in vfork(2) until their child executes its program: dash(1) and posix_spawn(3) begin
// every program so. Nothing but a signal that kills makes them return, so no tracer gets hold of one while
// the child stands still.
#pragma once

#include <sys/types.h>

#include <optional>
#include <vector>

namespace holm::runtime {

// Also that of a process and itself; false where one of them has ended.
bool share_memory(pid_t a, pid_t b);

struct Vfork {
  pid_t parent = 0;
  pid_t child = 0;
};

// One that is under way among these processes, which stand still. A child that shares memory with its parent
// for good is taken for one, too.
std::optional<Vfork> find_vfork(const std::vector<pid_t>& processes);

}  // namespace holm::runtime
