// Holds a container's links and its record while its processes are dumped, so that a dump that fails or is
// killed leaves it as it was.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "quotas/cgroup.h"
#include "runtime/dump_guard.h"
#include "runtime/observe.h"

namespace holm::runtime {

// Silent links are out of their bridge: peers hear nothing, and neither do they hear that the connections
// were closed where the container's processes end. The end of the scope puts them back, lets the processes go
// on, and tells the monitor that no end is announced; where this process is killed, a guard does. The caller
// holds the container's lock.
class DumpMoment {
 public:
  enum class Links { silent, as_they_are };
  DumpMoment(const Installation& installation, const StoredContainer& container, const Observation& seen,
             Links links);
  ~DumpMoment();
  DumpMoment(const DumpMoment&) = delete;
  DumpMoment& operator=(const DumpMoment&) = delete;

  // The container is saved and its processes are about to end: its monitor is told why.
  void announce_end();
  // They have ended: its links stay silent.
  void has_ended();
  // Brings its processes to a stand, sooner than CRIU would, which looks every 100 ms whether they are. They
  // remain there until the end of the scope, whatever CRIU does. False where they need long: it is left to
  // CRIU.
  bool freeze();
  // CRIU is done with them, and they go on: nothing of theirs needs to be put right.
  void goes_on();

 private:
  const Installation& installation_;
  std::string name_;
  uint32_t number_;
  bool was_paused_;
  bool is_in_doubt_ = true;
  std::unique_ptr<quotas::Cgroup> cgroup_;
  std::unique_ptr<DumpGuard> guard_;
};

// Takes the links out of their bridge, so that peers do not hear of what happens to the processes.
void silence_links(const Installation& installation, const std::string& name);

// Does what the end of such a scope would have done for a command that was killed, and thaws what it left
// frozen. CRIU, which outlives the command until it has undone what it did, holds the container's lock, too.
// The caller holds it.
void end_forgotten_dump(const Installation& installation, const Observation& seen);

}  // namespace holm::runtime
