// SOCK_SEQPACKET sockets in a container's run directory.
#pragma once

#include <string>

#include "base/unique_fd.h"

namespace holm::runtime {

// Replaces a socket that a killed predecessor left. Mode 0600.
UniqueFd listen_local(const std::string& directory, const std::string& name);
// Throws with error_number() ENOENT or ECONNREFUSED where nobody listens.
UniqueFd connect_local(const std::string& directory, const std::string& name);

}  // namespace holm::runtime
