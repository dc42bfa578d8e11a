// What a group read from disks and wrote to them. Not for other folders.
#pragma once

#include <string_view>

#include "quotas/group.h"

namespace holm::quotas {

// The texts' sums over all devices: v2's io.stat, and v1's two files with a line per device and operation.
void add_io_stat(std::string_view io_stat, Usage& usage);
void add_blkio(std::string_view service_bytes, std::string_view serviced, Usage& usage);

void add_io_usage_v1(const Group& group, Usage& usage);
void add_io_usage_v2(const Group& group, Usage& usage);

}  // namespace holm::quotas
