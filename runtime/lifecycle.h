// The verbs that change a container's life, as the command line asks for them. Each takes the container's
// lock.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "runtime/container_store.h"
#include "runtime/control.h"
#include "runtime/handshake.h"
#include "runtime/monitor.h"
#include "runtime/observe.h"

namespace holm::runtime {

struct StartOptions {
  MonitorOptions monitor;
  std::vector<UniqueFd>
      streams;  // pipes: three ends for the payload; console in the foreground: one client end
};

// A monitor that reported "running".
struct StartedContainer {
  Channel report;  // tells the end, where the command stays in the foreground
  State state;
};

struct NamedContainer {
  std::string name;
  bool is_new = false;  // made by this call
};
// Creates the container of `config` if it is not there; where it is there and stopped, the file becomes its
// config.
NamedContainer create_from_file(const Installation& installation, const ConfigFile& config,
                                Durability durability = Durability::survives_crash);
// Starts a stopped container and returns when its init executes.
StartedContainer start(const Installation& installation, StartOptions options);
// The same for a caller that holds the container's lock.
StartedContainer start_locked(const Installation& installation, StartOptions options, const FileLock& lock);

struct StopOptions {
  std::chrono::milliseconds timeout{10000};  // between the polite signal and SIGKILL
  Intent intent = Intent::stop;
  bool kill_at_once = false;
};
enum class Stopped { politely, killed, was_not_running };
// Ends init and returns when nothing of the run is left (for Intent::reboot: when the signal worked).
Stopped stop(const Installation& installation, const std::string& name, const StopOptions& options);
// Waits until nothing is left of a run whose init was ended otherwise. The caller holds the container's lock.
void await_end(const Installation& installation, const std::string& name);
// Sends a signal to init.
void send_signal(const Installation& installation, const std::string& name, int signal);
void pause(const Installation& installation, const std::string& name);
void resume(const Installation& installation, const std::string& name);
// Stops it if need be (only with `force`) and removes everything of it.
void destroy(const Installation& installation, const std::string& name, bool force);
void rename(const Installation& installation, const std::string& from, const std::string& to);
// Waits until the container is stopped for good; its exit status. `timeout`: nothing means for ever; nothing
// is returned when it is over first.
std::optional<int> wait(const Installation& installation, const std::string& name,
                        std::optional<std::chrono::milliseconds> timeout);

struct GarbageReport {
  std::vector<std::string> removed;  // "cgroup of container 7", ...
  std::vector<std::string> problems;
};
// Settles every container and removes whatever of this installation no container owns.
GarbageReport collect_garbage(const Installation& installation);

}  // namespace holm::runtime
