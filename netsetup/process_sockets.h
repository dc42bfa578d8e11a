// Internet sockets that processes have open, each through a descriptor of ours for the same socket.
#pragma once

#include <sys/types.h>

#include <vector>

#include "netsetup/nic_spec.h"

namespace holm::netsetup {

// What ends meanwhile is passed over by both.

// Takes the TCP connections of these processes out of repair mode (tcp(7), TCP_REPAIR), in which they are
// silent, as a checkpointer that was killed could not.
void leave_tcp_repair(const std::vector<pid_t>& processes);
// Ends their connections (TCP, and UDP sockets with a peer) that have one of the addresses at this end. Peers
// hear of it only where the network lets it through.
void drop_connections(const std::vector<pid_t>& processes, const std::vector<InterfaceAddress>& addresses);

}  // namespace holm::netsetup
