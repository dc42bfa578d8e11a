// What a container's processes hold: files, sockets, locks, terminals, signals. The payload is an adversary:
// nothing of its is opened, and the time that looking takes is bounded.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "quotas/facts.h"

namespace holm::quotas {

// Counts what is there now and adds it. `init` is one of the processes, and the caller holds a pidfd of it:
// if it has ended afterwards, the facts may be another's. Returns warnings: what took longer than `patience`
// is counted in part.
std::vector<std::string> add_process_facts(const std::vector<pid_t>& processes, pid_t init,
                                           std::chrono::milliseconds patience, Facts& facts);

}  // namespace holm::quotas
