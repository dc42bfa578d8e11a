// Terminals in images: open files of /dev/tty.
#pragma once

#include <string>

namespace holm::checkpoint {

// Where the key for /dev/tty was given to CRIU (external_objects.h), its images say of each process that
// opened it that it has something from outside. Makes them say which terminal that is: that of the process's
// session. Throws where nothing of that terminal is among the open files.
void name_terminals_of_sessions(const std::string& images);

}  // namespace holm::checkpoint
