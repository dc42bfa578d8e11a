// How many pseudo-terminals a container's own devpts has. Not for other folders.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "quotas/facts.h"

namespace holm::quotas {

// The options of the file system behind a mount id, from the text of /proc/PID/mountinfo; nothing where that
// is no devpts.
std::optional<std::string> devpts_options(std::string_view mountinfo, uint64_t mount_id);

// Looks at what is mounted on /dev/pts of the process's root, without asking a file system of the payload's:
// where it put another one there, the facts stay without. False where it has more mounts than are looked at.
bool add_pty_facts(pid_t init, Facts& facts);

}  // namespace holm::quotas
