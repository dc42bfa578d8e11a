// Puts right in images what CRIU (4.2.1 was seen) saves in a way that its restore does not bring back as it
// was.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace holm::checkpoint {

// What the clocks of a process's time namespace show, in nanoseconds, and the host's wall clock then.
struct ContainerClocks {
  int64_t monotonic = 0;
  int64_t boottime = 0;
  int64_t host_realtime = 0;
};
ContainerClocks read_container_clocks(pid_t process);

// The clocks go on from where they stood when the processes did. CRIU reads them at the end of its work, so
// all of it would be a jump.
void set_saved_clocks(const std::string& images, const ContainerClocks& clocks);

// Timers went on until CRIU read them, process by process, after the moment to which the clocks go back: each
// gets back what it lost, as none may expire too early. An image is as old as what it says of timers.
void set_back_timers(const std::string& images, const ContainerClocks& clocks);

// Timers that CRIU would stop or let go off too early.
void repair_timers(const std::string& images);

}  // namespace holm::checkpoint
