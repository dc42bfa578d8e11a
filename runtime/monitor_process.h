// The monitor as a process: what it was started with, and where it writes.
#pragma once

#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "runtime/handshake.h"
#include "runtime/monitor.h"

namespace holm::runtime {

// What the monitor was given by the command that started it.
struct Inherited {
  std::optional<Channel> report;
  UniqueFd lock;
  UniqueFd streams[3];
  UniqueFd console_client;
};

Inherited take_inherited(const MonitorOptions& options);

// Survives the terminal and the session of whoever started it; its streams are the log.
void detach_from_session(const std::string& run_directory);

// Into monitor.log, with the time.
void log_line(const std::string& text);

}  // namespace holm::runtime
