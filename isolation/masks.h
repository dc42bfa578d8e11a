// What of /proc and /sys a container does not see, or only reads (SECURITY: point 5).
#pragma once

#include <span>

namespace holm::isolation {

// Not shown: a file becomes an empty one, a directory an empty read-only one. What the kernel does not have
// is skipped.
std::span<const char* const> masked_paths();
// Shown read-only, with everything below.
std::span<const char* const> read_only_paths();
// Below a read-only path, yet writable: sysctls that belong to the container's own namespaces. The kernel
// picks the namespace when the path is looked up, so they are bind-mounted by a process that is inside of all
// of them, never by one of the host. What the kernel does not have is skipped.
std::span<const char* const> writable_sysctls();

}  // namespace holm::isolation
