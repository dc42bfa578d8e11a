// Taking down what a run made. All of it is found from the container's number alone, so that it works after
// any crash.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "runtime/paths.h"

namespace holm::runtime {

// What becomes of the container's links.
enum class Links {
  remove_now,       // gone when the call returns; waits 14-40 ms for the kernel
  leave_to_kernel,  // they end with the network namespace, a moment after its last process
};

// Called when nothing runs any more, and while all that the kernel has counted can still be read.
using LastLook = std::function<void()>;
// The ledger's: take_last_sample of the container `name`. What no container owns is nobody's usage.
LastLook last_look_of(const Paths& paths, const std::string& name);

// Kills what still runs in the container's cgroup, takes a last look, removes the cgroup and the links. Does
// nothing where nothing is. Throws when processes resist for 10 s.
void remove_kernel_objects(const Paths& paths, uint32_t number, const LastLook& last_look,
                           Links links = Links::remove_now);

}  // namespace holm::runtime
