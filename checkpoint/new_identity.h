// Gives a restored container other addresses than the ones that it was saved with.
#pragma once

#include <sys/types.h>

#include <vector>

#include "netsetup/container_link.h"

namespace holm::checkpoint {

// In a network namespace of these processes: each link loses the addresses that it has, and gets its plan's,
// with the routes that go with them. What is connected through the old ones ends, and peers, who are not
// meant, hear nothing of it as long as the links are not in their bridge.
void give_new_identity(int network_namespace, const std::vector<pid_t>& processes,
                       const std::vector<netsetup::LinkPlan>& links);

}  // namespace holm::checkpoint
