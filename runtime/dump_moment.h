// Holds a container's links and its record while its processes are dumped, so that a dump that fails or is
// killed leaves it as it was.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "quotas/cgroup.h"
#include "runtime/dump_guard.h"
#include "runtime/observe.h"

namespace holm::runtime {

// Silent links are out of their bridge: peers hear nothing, and neither do they hear that the connections
// were closed where the container's processes end. A dump of the memory alone leaves links as they are. The
// end of the scope puts them back, lets the processes go on, and tells the monitor that no end is announced;
// where this process is killed, a guard does. The caller holds the container's lock.
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
  // Brings its processes to a stand where CRIU can seize them: none of them waits in vfork(2), where CRIU
  // would wait for them as they do for their frozen children. They remain there until the end of the scope,
  // whatever CRIU does. Throws where it takes longer than `patience`, or than 10 s for the sake of vfork(2).
  void freeze(std::chrono::milliseconds patience);
  // CRIU, which is told to save memory alone, leaves them as still as it found them while it writes what it
  // has of it: with this they go on as soon as it has let go of them.
  void thaw_with_criu();
  // CRIU is done with them, and they go on: nothing of theirs needs to be put right.
  void goes_on();
  bool stands() const { return stand_.has_value(); }  // it was frozen by this
  // Since they came to a stand: until they went on, or until now.
  std::chrono::milliseconds stood() const;

 private:
  using Clock = std::chrono::steady_clock;

  void set_silent(bool silent);
  void stop(Clock::time_point end);
  void thaw();

  const Installation& installation_;
  std::string name_;
  uint32_t number_;
  bool was_paused_;
  Links links_;
  bool is_silent_ = false;
  bool is_in_doubt_ = true;
  std::unique_ptr<quotas::Cgroup> cgroup_;
  std::unique_ptr<DumpGuard> guard_;
  std::optional<Clock::time_point> stand_, went_on_;
  std::jthread follower_;  // of CRIU
};

// For the guard of a command that was killed: a CRIU that saves memory goes on with that, having frozen the
// container as it found it. Lets it run until `stop`, or until somebody else has put it right.
void let_run_while_memory_is_saved(const Installation& installation, const std::string& name,
                                   const std::stop_token& stop);

// Takes the links out of their bridge, so that peers do not hear of what happens to the processes.
void silence_links(const Installation& installation, const std::string& name);

// Does what the end of such a scope would have done for a command that was killed, and thaws what it left
// frozen. CRIU, which outlives the command until it has undone what it did, holds the container's lock, too.
// The caller holds it.
void end_forgotten_dump(const Installation& installation, const Observation& seen);

}  // namespace holm::runtime
