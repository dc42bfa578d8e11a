// What a container has from outside: mounts and terminals that CRIU must not save but find again.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "runtime/spec.h"

namespace holm::checkpoint {

struct ExternalObjects {
  std::vector<std::string> options;   // for CRIU's dump: "mnt[/dev/null]:node-null", "tty[8800:1a]", ...
  std::vector<ExternalMount> mounts;  // for the manifest
  std::string console;
  std::vector<std::string> pipes;
};

// Found in the kernel's list of init's mounts and descriptors, not in the spec: the container's root may have
// made more of them. `init` and `processes`: the host's pids; the caller holds a pidfd of init.
ExternalObjects find_external_objects(pid_t init, const std::vector<pid_t>& processes,
                                      const runtime::ContainerSpec& spec);

// The number of /dev/tty as CRIU has it: a process that opens it gets the terminal of its session. CRIU
// cannot restore that where the terminal is the console, and is told that it comes from outside.
inline constexpr uint32_t kOwnTerminalDevice = 0x500;

// Where such a mount is on the host: "/dev/null" of "node-null". Nodes are those that containers get and no
// others. Binds are found below `binds`, where the restore has put them. Throws for what is none.
std::string source_of(const ExternalMount& mount, const std::string& console, const std::string& binds,
                      size_t bind_count);

}  // namespace holm::checkpoint
