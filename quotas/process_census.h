// What a container's processes hold open, seen from the host's /proc. Not for other folders.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <unordered_set>
#include <vector>

namespace holm::quotas {

struct OpenFile {
  pid_t process;
  int descriptor;
};

struct ProcessCensus {
  std::unordered_set<pid_t> processes;
  // Distinct open files (the kernel's struct file), however many descriptors there are of each.
  uint64_t files = 0;
  std::unordered_set<uint64_t> tcp_sockets, other_sockets;  // inode numbers
  std::vector<OpenFile> named_files;                        // those with a path: one descriptor of each
  uint64_t private_memory = 0;                  // bytes that were asked for, once per address space
  std::map<uint64_t, uint64_t> queued_signals;  // by user, as the host numbers them
  bool is_complete = true;                      // false: the time was over first
};

// Looks at each process and its threads; one that ends meanwhile is no error. A payload can open more than
// can be looked at in reasonable time: after `patience` of CPU time, or six times that in all, the rest is
// left out.
ProcessCensus take_census(const std::vector<pid_t>& processes, std::chrono::milliseconds patience);

}  // namespace holm::quotas
