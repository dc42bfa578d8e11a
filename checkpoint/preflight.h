// What of a running container CRIU could not save or bring back, found before anything is frozen.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "checkpoint/message_queues.h"
#include "runtime/container_store.h"
#include "runtime/observe.h"

namespace holm::checkpoint {

// Text of the container's is printable in all members.
struct Obstacle {
  pid_t pid = 0;        // in the container; 0: the container as a whole
  std::string program;  // its name; empty for the container as a whole
  std::string object;   // "io_uring (descriptor 7)", "mount '/run/x' (fuse)"
  std::string why;
  std::string cure;
  std::string identity = {};  // of what comes and goes by itself: that it is the same still; else empty
};

// "process 4 ('nginx') in it: OBJECT: WHY".
std::string describe(const Obstacle& obstacle);

struct PreflightReport {
  std::vector<Obstacle> obstacles;  // the save, or the restore after it, would fail
  std::vector<Obstacle> warnings;   // it would be saved, but something of it is lost
  std::vector<Obstacle> delays;     // the save would wait for it
  QueueObjects queues;
  bool is_complete = true;  // false: it looked as long as it may, or found more than anybody reads
};

// Reads the host's /proc and the sockets' lists of the container's network namespaces: no process is stopped
// or traced, and nothing of the container's is opened or asked but its message queues' state. Takes about
// `patience` at most. A container changes while it is looked at: what is found may be over a moment later,
// and what is not may begin. Throws where it is not running, also where it ends meanwhile.
PreflightReport preflight(const runtime::Installation& installation,
                          const runtime::StoredContainer& container, const runtime::Observation& seen,
                          std::chrono::milliseconds patience);
// The obstacles and delays that are there at each of three looks, 20 ms apart: a process that has just begun,
// is ending, or writes to a disk looks odd for a moment. All else is of the last look.
PreflightReport lasting_preflight(const runtime::Installation& installation,
                                  const runtime::StoredContainer& container, const runtime::Observation& seen,
                                  std::chrono::milliseconds patience);
// Keeps of `found` what is in `before`, too. Of one process, what has the same reason is the same: a file
// that it opens anew all the time has another descriptor or name at each look. Where there is an identity,
// that is asked as well: a connection on its way is another one at each look.
void keep_alike(std::vector<Obstacle>& found, const std::vector<Obstacle>& before);

}  // namespace holm::checkpoint
