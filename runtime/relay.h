// Carries a payload's standard streams between the command's own and the container.
#pragma once

#include <csignal>
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

// SIGINT, SIGTERM, SIGHUP and SIGWINCH come as a descriptor while this object lives, which is until the
// command has done what it does about one: a terminal that is closed shows itself by a failed write before
// its SIGHUP.
class RelaySignals {
 public:
  RelaySignals();
  ~RelaySignals();
  RelaySignals(const RelaySignals&) = delete;
  RelaySignals& operator=(const RelaySignals&) = delete;

  int fd() const { return fd_.get(); }
  // The next signal, 0 for none.
  int take();

 private:
  sigset_t before_{};
  UniqueFd fd_;
};

enum class RelayEnd {
  ended,        // the other side has ended
  detached,     // the person typed the detach key
  interrupted,  // SIGINT, SIGTERM or SIGHUP came
};
// What to do with a signal that comes to the command: true ends the relay (interrupted).
using OnSignal = std::function<bool(int signal)>;

// Until `ended` (a pidfd, or a socket that gets readable or closed) is ready; then takes what is left in the
// pipes.
RelayEnd relay_pipes(RelaySignals& signals, StreamEnds& streams, int ended, const OnSignal& on_signal);
// Tells a console (the client's end of its socket) the size of the terminal.
void tell_terminal_size(int console);
// Gives a pty the size of the terminal, where standard input or output is one.
void give_terminal_size(int master);
// Between the terminal and the master of a pty, until `pidfd` is ready.
RelayEnd relay_pty(RelaySignals& signals, int master, int pidfd);
// Between the terminal and a console (console.h), until the console closes. Ctrl-] detaches.
RelayEnd relay_console(RelaySignals& signals, int console);

}  // namespace holm::runtime
