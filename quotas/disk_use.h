// How much of a disk a container's own files take.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "quotas/facts.h"

namespace holm::quotas {

struct DiskUse {
  uint64_t bytes = 0;   // as allocated on the disk
  uint64_t inodes = 0;  // a file with several names once; the directory itself not
  std::optional<uint64_t> bytes_limit, inodes_limit;
};

// Asks the file system where the directory is the whole of one, which takes no time. Else goes through all
// that is below, without following a link or entering another file system, and while it changes; nothing
// where that takes longer than `patience`.
std::optional<DiskUse> measure_disk_use(const std::string& directory, std::chrono::milliseconds patience);

void add_disk_facts(const DiskUse& use, Facts& facts);

}  // namespace holm::quotas
