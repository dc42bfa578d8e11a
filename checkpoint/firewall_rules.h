// The rules of nftables that a container has in its network namespace: text in an image, which CRIU's own
// library would load. That is often newer than a container's nft, and leaves sets behind that an older one
// crashes at (1.0.6 at those of 1.1.6). The host's is nearer to its containers', and loads them where it can.
#pragma once

#include <sys/types.h>

#include <string>

#include "isolation/id_map.h"

namespace holm::checkpoint {

// Takes them out of the images, for load_firewall_rules. Empty where there are none, or where the host's
// library cannot load them, which is tried in a user namespace of the range's (without a first id, of no
// ids): then they are left to CRIU. Throws where it is no list of rules.
std::string take_firewall_rules(const std::string& images, const isolation::IdRange& ids);
// Into the network namespace of that process, with the rights of its user namespace's root alone.
void load_firewall_rules(pid_t process, const std::string& rules);

}  // namespace holm::checkpoint
