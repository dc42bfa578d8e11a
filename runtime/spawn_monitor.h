// How a command starts a container's monitor.
#pragma once

#include <vector>

#include "base/file_lock.h"
#include "runtime/handshake.h"
#include "runtime/monitor.h"
#include "runtime/paths.h"

namespace holm::runtime {

// It is this command's child until the command ends, and nobody waits for it: who asks whether it lives takes
// a zombie for dead (open_process). `lock`: the container's, which the monitor holds until init runs; nothing
// for one that adopts. `streams`: StartOptions. Returns the channel on which it reports.
Channel spawn_monitor(const Paths& paths, const MonitorOptions& options, const FileLock* lock,
                      const std::vector<UniqueFd>& streams);

}  // namespace holm::runtime
