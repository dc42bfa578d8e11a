// What processes have mapped, and what of it CRIU refuses. Not for other files.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/preflight_files.h"
#include "checkpoint/preflight_finding.h"

namespace holm::checkpoint {

// A line of /proc/PID/maps.
struct Mapping {
  std::string range;   // "7f00-7f01", its name in /proc/PID/map_files
  std::string device;  // "0:26", as in mountinfo
  uint64_t inode = 0;
  std::string name;  // a path, "[heap]", "anon_inode:[io_uring]", or nothing
  bool is_file() const { return inode != 0; }
};
std::optional<Mapping> parse_mapping(std::string_view line);

// `mode`, `node`: of the mapped file, where they could be found out.
std::optional<Finding> judge_mapping(const Mapping& mapping, const FileRules& rules,
                                     std::optional<mode_t> mode, dev_t node);

// Reading maps waits for the process's own lock, which the payload can hold for as long as it likes (a page
// fault on a FUSE file): a child of ours does it, and is killed at the end of the time. It starts at once and
// works beside its parent, which must have no other threads then.
class MemorySearch {
 public:
  MemorySearch(const Tree& tree, const FileRules& rules, const Deadline& deadline);
  ~MemorySearch();
  MemorySearch(const MemorySearch&) = delete;
  MemorySearch& operator=(const MemorySearch&) = delete;

  // Waits for its end. False in `is_complete` where it was not done in time.
  Findings take(const Deadline& deadline, bool& is_complete);

 private:
  UniqueFd answers_;
  UniqueFd process_;
};

// How findings come from the child: fields and records by lines, as all text in them is printable.
std::string encode_findings(const Findings& findings);
Findings decode_findings(std::string_view text);

}  // namespace holm::checkpoint
