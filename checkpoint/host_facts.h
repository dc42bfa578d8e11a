// What a checkpoint depends on of the host that it is made on.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/manifest.h"

namespace holm::checkpoint {

// Read from the kernel; without CRIU's version.
HostFactsOfSave read_host_facts();

// Throws where processes of that host cannot go on on this one: another machine, or a CPU without what theirs
// had.
void check_host(const HostFactsOfSave& saved, const HostFactsOfSave& here);

}  // namespace holm::checkpoint
