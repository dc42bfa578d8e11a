// What the kernel tells of the sockets in a container's network namespace. Not for other folders.
#pragma once

#include <chrono>

#include "quotas/facts.h"
#include "quotas/process_census.h"

namespace holm::quotas {

// Adds the memory of the sockets' buffers, sockets that no process holds (any more, or not yet: connections
// that are being closed or wait for accept), and the number of nftables rules. `is_own`: the namespace is the
// container's; else it is the host's, and only the container's sockets there count. Where the kernel cannot
// be asked (no sock_diag), the facts stay without.
void add_network_facts(int network_namespace, bool is_own, const ProcessCensus& census,
                       std::chrono::milliseconds patience, Facts& facts);

}  // namespace holm::quotas
