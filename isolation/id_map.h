// The range of host ids that a container's user namespace maps to.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/unique_fd.h"

namespace holm::isolation {

inline constexpr uint32_t kIdsPerContainer = 65536;

// Container ids 0 .. count-1 are the host's first .. first+count-1, users and groups alike.
struct IdRange {
  uint32_t first = 0;
  uint32_t count = kIdsPerContainer;
  bool operator==(const IdRange&) const = default;
};

// Throws unless the range lies at or above 65536 (below it are the host's own ids), ends below 2^32-1 (which
// means "no id" to the kernel) and is not empty.
void check_id_range(const IdRange& range);

// The host's id behind a container's id; throws where the range has none.
uint32_t host_id(const IdRange& range, uint32_t container_id);

// "0 131072 65536", as /proc/PID/uid_map takes it.
std::string id_map_text(const IdRange& range);

// Gives the new user namespace of a child its users and groups, and reads them back. The child is the
// caller's own and not yet waited for, so its pid cannot be another's. setgroups(2) stays allowed inside,
// because the host's root writes the map.
void write_id_map(pid_t child, const IdRange& range);

// A user namespace with that map and nobody in it, for id-mapped mounts (MOUNT_ATTR_IDMAP). Lives as long as
// the descriptor or a mount that uses it.
UniqueFd make_user_namespace_fd(const IdRange& range);

}  // namespace holm::isolation
