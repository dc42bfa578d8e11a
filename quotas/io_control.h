// The files of the controllers 'io' (v2) and 'blkio' (v1): rates and weights of block devices. What cannot be
// had is told in words, never thrown: a container runs without it. Not for other folders.
#pragma once

#include <string>
#include <vector>

#include "quotas/group.h"
#include "quotas/limits.h"

namespace holm::quotas {

enum class IoVersion { v1, v2 };  // blkio.*, io.*

// A group of the controller: `base` is the top of its hierarchy.
struct IoGroup {
  IoVersion version;
  std::string base;
  std::string directory;
};

// Writes what is asked for, takes away what is not, and reads all of it back.
void write_io_limits(const IoGroup& group, const IoLimits& limits, Freshness freshness,
                     std::vector<std::string>& warnings);
// Takes the rates away, also those that the payload has set in nested groups, so that what waits for its turn
// goes on.
void lift_io_rates(const IoGroup& group);
// Rates as the strictest of those that its devices have; `devices.limited` are the devices that have one.
IoLimits read_io_limits(const IoGroup& group);

// What shares disks by weight on this host.
struct IoSharers {
  bool bfq = false;   // a scheduler, where it is chosen for the disk
  bool cost = false;  // blk-iocost, where it is enabled for the disk
  bool cfq = false;   // a scheduler of kernels before 5.0
  bool operator==(const IoSharers&) const = default;
};
IoSharers io_sharers(IoVersion version, const std::string& directory);
// "its scheduler 'none' knows no weights (cure)": why none of them shares the disk; empty where one does.
std::string why_no_weight(const IoSharers& sharers, const std::string& base, const BlockDevice& disk);

}  // namespace holm::quotas
