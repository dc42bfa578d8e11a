// Directories of the host that a container may write to.
#pragma once

#include <string>

namespace holm::runtime {

// Throws unless `path` or a directory above it lets nobody but the host's root through. A container's root
// that writes to a host directory with mapped ids makes files of the host's users, setuid programs of the
// host's root among them; no other user of the host may get at those.
void require_closed_directory(const std::string& path);

}  // namespace holm::runtime
