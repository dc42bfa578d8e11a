// What other commands tell a container's monitor before they act on its init: why it is about to end.
#pragma once

#include <poll.h>

#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace holm::runtime {

// What the monitor shall do when init has ended.
enum class Intent {
  none,        // as on_crash and on_reboot say
  stop,        // stay stopped
  reboot,      // start again at once
  checkpoint,  // stay stopped: its processes go on living in a checkpoint
};

// The monitor's side of /run/holm/NAME/monitor.sock.
class ControlSocket {
 public:
  explicit ControlSocket(const std::string& run_directory);
  ~ControlSocket();
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;

  int fd() const { return listener_.get(); }
  // Takes one waiting request, records it by `accept` and answers it afterwards.
  template <class Accept>
  void serve(Accept&& accept) {
    const auto request = receive();
    if (!request) return;
    accept(request->intent);
    acknowledge(request->client.get());
  }

 private:
  struct Request {
    UniqueFd client;
    Intent intent;
  };
  std::optional<Request> receive();
  static void acknowledge(int client);

  std::string directory_;
  UniqueFd listener_;
};

// Tells the monitor; returns when it has taken note. False where no monitor listens. Throws when a monitor
// that is there does not answer within 30 s.
bool announce_intent(const std::string& run_directory, Intent intent);

}  // namespace holm::runtime
