// Whether a directory is a root file system.
#pragma once

#include <string>

namespace holm::storage {

// Throws where the directory `root_fd` (O_PATH will do) has no directory for programs: /bin, /sbin, /usr/bin
// or /usr/sbin. Links are followed inside the root only, and nothing is opened that could make us wait.
// `name` is what the user calls it; the hint says what it seems to be instead.
void check_root_file_system(int root_fd, const std::string& name);

}  // namespace holm::storage
