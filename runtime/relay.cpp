#include "runtime/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "base/error.h"
#include "base/sys.h"
#include "runtime/console.h"

namespace holm::runtime {
namespace {

constexpr size_t kChunk = 16384;
constexpr char kDetachKey = 0x1d;  // Ctrl-], as in xl console and telnet

enum class Copied { some, nothing_now, end };

Copied copy_some(int from, int to) {
  char buffer[kChunk];
  const ssize_t size = ::read(from, buffer, sizeof buffer);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return Copied::nothing_now;
  if (size <= 0) return Copied::end;
  try {
    sys::write_all(to, {buffer, static_cast<size_t>(size)}, "standard stream");
  } catch (const Error&) {
    return Copied::end;  // the reader is gone, as after "| head"
  }
  return Copied::some;
}

void drain(const UniqueFd& from, int to) {
  if (!from) return;
  sys::set_nonblocking(from.get());
  while (copy_some(from.get(), to) == Copied::some) {
  }
}

bool is_ready(const pollfd& entry) { return entry.revents != 0; }

void wait_for(pollfd* wanted, nfds_t count) {
  while (::poll(wanted, count, -1) < 0) {
    if (errno != EINTR) throw Error::system("wait for input or output");
  }
}

winsize terminal_size() {
  winsize size = {};
  if (::ioctl(0, TIOCGWINSZ, &size) != 0) ::ioctl(1, TIOCGWINSZ, &size);
  return size;
}

bool send_frame(int console, char tag, std::string_view data) {
  const std::string frame = tag + std::string(data);
  return ::send(console, frame.data(), frame.size(), MSG_NOSIGNAL) >= 0;
}

}  // namespace

RelaySignals::RelaySignals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) ::sigaddset(&signals, signal);
  ::sigprocmask(SIG_BLOCK, &signals, &before_);
  fd_.reset(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_) throw Error::system("watch for signals");
}

RelaySignals::~RelaySignals() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }

int RelaySignals::take() {
  signalfd_siginfo info = {};
  return ::read(fd_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)
             ? static_cast<int>(info.ssi_signo)
             : 0;
}

struct RawTerminal::Saved {
  termios settings;
};

RawTerminal::RawTerminal() {
  termios settings = {};
  if (::tcgetattr(0, &settings) != 0) return;
  saved_ = new Saved{settings};
  ::cfmakeraw(&settings);
  ::tcsetattr(0, TCSADRAIN, &settings);
}

RawTerminal::~RawTerminal() {
  if (saved_) ::tcsetattr(0, TCSADRAIN, &saved_->settings);
  delete saved_;
}

void tell_terminal_size(int console) {
  const winsize size = terminal_size();
  if (size.ws_row == 0) return;
  char data[2 * sizeof(uint16_t)];
  std::memcpy(data, &size.ws_row, sizeof(uint16_t));
  std::memcpy(data + sizeof(uint16_t), &size.ws_col, sizeof(uint16_t));
  send_frame(console, kConsoleResize, {data, sizeof data});
}

bool is_terminal(int fd) { return ::isatty(fd) == 1; }

PayloadPipes make_payload_pipes() {
  PayloadPipes pipes;
  sys::Pipe in = sys::pipe(), out = sys::pipe(), err = sys::pipe();
  pipes.ours = {std::move(in.write_end), std::move(out.read_end), std::move(err.read_end)};
  pipes.payload.push_back(std::move(in.read_end));
  pipes.payload.push_back(std::move(out.write_end));
  pipes.payload.push_back(std::move(err.write_end));
  return pipes;
}

RelayEnd relay_pipes(RelaySignals& signals, StreamEnds& streams, int ended, const OnSignal& on_signal) {
  ::signal(SIGPIPE, SIG_IGN);
  for (;;) {
    // A negative descriptor is passed over by poll(2): streams that ended drop out this way.
    pollfd wanted[] = {{ended, POLLIN, 0},
                       {signals.fd(), POLLIN, 0},
                       {streams.output.get(), POLLIN, 0},
                       {streams.errors.get(), POLLIN, 0},
                       {streams.input ? 0 : -1, POLLIN, 0}};
    wait_for(wanted, std::size(wanted));
    if (is_ready(wanted[2]) && copy_some(streams.output.get(), 1) == Copied::end) streams.output.reset();
    if (is_ready(wanted[3]) && copy_some(streams.errors.get(), 2) == Copied::end) streams.errors.reset();
    if (is_ready(wanted[4]) && copy_some(0, streams.input.get()) == Copied::end) streams.input.reset();
    if (is_ready(wanted[1])) {
      const int signal = signals.take();
      if (signal != 0 && signal != SIGWINCH && on_signal(signal)) return RelayEnd::interrupted;
    }
    if (is_ready(wanted[0])) {
      drain(streams.output, 1);
      drain(streams.errors, 2);
      return RelayEnd::ended;
    }
  }
}

void give_terminal_size(int master) {
  const winsize size = terminal_size();
  if (size.ws_row != 0) ::ioctl(master, TIOCSWINSZ, &size);
}

RelayEnd relay_pty(RelaySignals& signals, int master, int pidfd) {
  const RawTerminal raw;
  give_terminal_size(master);  // it may have changed since the pty was made
  bool input_open = true, output_open = true;
  for (;;) {
    pollfd wanted[] = {{pidfd, POLLIN, 0},
                       {signals.fd(), POLLIN, 0},
                       {output_open ? master : -1, POLLIN, 0},
                       {input_open ? 0 : -1, POLLIN, 0}};
    wait_for(wanted, std::size(wanted));
    if (is_ready(wanted[2]) && copy_some(master, 1) == Copied::end)
      output_open = false;      // EIO: no slave is open
    if (is_ready(wanted[1])) {  // before the input: who types into a new size means it
      const int signal = signals.take();
      if (signal == SIGWINCH) give_terminal_size(master);
      if (signal == SIGTERM || signal == SIGHUP) return RelayEnd::interrupted;
    }
    if (is_ready(wanted[3]) && copy_some(0, master) == Copied::end) input_open = false;
    if (is_ready(wanted[0])) {
      sys::set_nonblocking(master);
      while (copy_some(master, 1) == Copied::some) {
      }
      return RelayEnd::ended;
    }
  }
}

RelayEnd relay_console(RelaySignals& signals, int console) {
  const RawTerminal raw;
  tell_terminal_size(console);
  bool input_open = true;
  char buffer[kChunk];
  for (;;) {
    pollfd wanted[] = {{console, POLLIN, 0}, {signals.fd(), POLLIN, 0}, {input_open ? 0 : -1, POLLIN, 0}};
    wait_for(wanted, std::size(wanted));
    if (is_ready(wanted[0])) {
      const ssize_t size = ::recv(console, buffer, sizeof buffer, 0);
      if (size <= 0) return RelayEnd::ended;
      try {
        sys::write_all(1, {buffer, static_cast<size_t>(size)}, "standard output");
      } catch (const Error&) {
        return RelayEnd::interrupted;  // the terminal was closed; its SIGHUP is on the way
      }
    }
    if (is_ready(wanted[1])) {
      const int signal = signals.take();
      if (signal == SIGWINCH) tell_terminal_size(console);
      if (signal == SIGTERM || signal == SIGHUP) return RelayEnd::interrupted;
    }
    if (is_ready(wanted[2])) {
      const ssize_t size = ::read(0, buffer, 4096);
      if (size <= 0) {
        input_open = false;
        continue;
      }
      const std::string_view typed(buffer, static_cast<size_t>(size));
      const size_t detach = typed.find(kDetachKey);
      if (!send_frame(console, kConsoleData, typed.substr(0, detach))) return RelayEnd::ended;
      if (detach != std::string_view::npos && is_terminal(0)) return RelayEnd::detached;
    }
  }
}

}  // namespace holm::runtime
