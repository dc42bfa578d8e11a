// Carries a payload's standard streams between the command's own and the container.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

namespace holm::runtime {

// The command's ends of the pipes that are the payload's standard streams.
struct StreamEnds {
  UniqueFd input;   // written to
  UniqueFd output;  // read from
  UniqueFd errors;  // read from
};
struct PayloadPipes {
  StreamEnds ours;
  std::vector<UniqueFd> payload;  // its 0, 1, 2
};
PayloadPipes make_payload_pipes();

// The terminal of standard input in raw mode; restored when this object ends, and never touched where input
// is none.
class RawTerminal {
 public:
  RawTerminal();
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  struct Saved;
  Saved* saved_ = nullptr;
};

bool is_terminal(int fd);

enum class RelayEnd {
  ended,        // the other side has ended
  detached,     // the person typed the detach key
  interrupted,  // SIGINT, SIGTERM or SIGHUP came
};
// What to do with a signal that comes to the command: true ends the relay (interrupted).
using OnSignal = std::function<bool(int signal)>;

// Until `ended` (a pidfd, or a socket that gets readable or closed) is ready; then takes what is left in the
// pipes.
RelayEnd relay_pipes(StreamEnds& streams, int ended, const OnSignal& on_signal);
// Tells a console (the client's end of its socket) the size of the terminal.
void tell_terminal_size(int console);
// Between the terminal and the master of a pty, until `pidfd` is ready.
RelayEnd relay_pty(int master, int pidfd);
// Between the terminal and a console (console.h), until the console closes. Ctrl-] detaches.
RelayEnd relay_console(int console);

}  // namespace holm::runtime
