// Keeps Holm's own program file out of reach of a container that runs it through /proc/self/exe.
#pragma once

#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace holm::isolation {

// A descriptor of the running program on a detached read-only mount: whoever is executed from it cannot be
// opened for writing through /proc/PID/exe, whatever the opener's rights are (CVE-2019-5736). Text pages stay
// shared, as the file is the same one.
UniqueFd open_protected_program();

// True when the running program was started from a read-only mount.
bool is_program_protected();

// Executes the program anew from the protected descriptor with these arguments (argv[0] included); throws if
// it cannot.
[[noreturn]] void execute_protected(int program, const std::vector<std::string>& arguments);

}  // namespace holm::isolation
