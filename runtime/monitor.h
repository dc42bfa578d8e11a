// The one small process per running container that is init's parent on the host.
#pragma once

#include <string>
#include <vector>

#include "runtime/init_source.h"

namespace holm::runtime {

// How a payload's standard streams are connected.
enum class StdioMode {
  console,  // the console's pty
  pipes,    // pipes of the command that started it
};

// The descriptors that a monitor inherits from the command that starts it.
inline constexpr int kReportFd = 3;  // the monitor's end of the handshake with the command
inline constexpr int kLockFd = 4;    // the container's lock, until init runs: also if the command is killed
inline constexpr int kFirstStreamFd = 5;  // pipes: 5, 6, 7; console in the foreground: 5 is a console client

struct MonitorOptions {
  std::string name;
  StdioMode stdio = StdioMode::console;
  bool foreground = false;  // the command waits for the end of the payload
  bool adopt = false;       // watch a container whose monitor was killed
  bool remove_when_stopped = false;
  std::string checkpoint;     // the directory of the one that the first init comes from; empty: it is started
  std::string upper;          // files that it brings instead of those that are in place; empty: none
  bool new_identity = false;  // other addresses than it was saved with
  bool paused = false;        // a restored container waits for `resume`
  std::vector<std::string> command;  // instead of the configured one; empty: as configured
};

// The arguments with which the program is executed as a monitor, and back.
std::vector<std::string> monitor_arguments(const MonitorOptions& options);
MonitorOptions parse_monitor_arguments(const std::vector<std::string>& arguments);
inline constexpr const char* kMonitorVerb = "monitor-process";  // not a verb for people

// Runs until the container is stopped for good; the exit status of the process. Never throws: errors go to
// the command that waits for the report, or into monitor.log.
// `first_init`: where the first init comes from, if not from a start.
int run_monitor(const MonitorOptions& options, InitSource first_init = {}) noexcept;

}  // namespace holm::runtime
