// A program that runs on a terminal of its own, as a person sits before it.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/sys.h"
#include "base/unique_fd.h"
#include "tests/support/slow_host.h"

namespace holm::test {

class PtyProgram {
 public:
  PtyProgram(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment,
             winsize size = {.ws_row = 30, .ws_col = 100, .ws_xpixel = 0, .ws_ypixel = 0})
      : master_(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    ::grantpt(master_.get());
    ::unlockpt(master_.get());
    ::ioctl(master_.get(), TIOCSWINSZ, &size);
    slave_.reset(::open(::ptsname(master_.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    pid_ = ::fork();
    if (pid_ == 0) become(command, environment);
    sys::set_nonblocking(master_.get());
  }
  ~PtyProgram() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  PtyProgram(const PtyProgram&) = delete;
  PtyProgram& operator=(const PtyProgram&) = delete;

  void type(const std::string& text) { CHECK(::write(master_.get(), text.data(), text.size()) >= 0); }
  // Waits until the screen has shown `text` since the last `forget`.
  bool shows(const std::string& text, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    const auto end = std::chrono::steady_clock::now() + limit * patience();
    while (read_screen(20).find(text) == std::string::npos)
      if (std::chrono::steady_clock::now() >= end) return false;
    return true;
  }
  const std::string& screen() { return read_screen(0); }
  void forget() {
    read_screen(0);
    screen_.clear();
  }
  void resize(unsigned short rows, unsigned short columns) {
    const winsize size = {.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    ::ioctl(master_.get(), TIOCSWINSZ, &size);  // the kernel tells the foreground group: SIGWINCH
  }
  bool is_raw() const {
    termios settings = {};
    ::tcgetattr(slave_.get(), &settings);
    return (settings.c_lflag & (ICANON | ECHO)) == 0;
  }
  // The terminal is closed under the program.
  void hang_up() {
    slave_.reset();
    master_.reset();
  }
  pid_t pid() const { return pid_; }
  // The exit status, 128 + signal; nothing where it is still running after `limit`.
  std::optional<int> wait(std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    const auto end = std::chrono::steady_clock::now() + limit * patience();
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() >= end) return std::nullopt;
      if (master_) read_screen(5);
    }
    pid_ = 0;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  [[noreturn]] void become(const std::vector<std::string>& command,
                           const std::map<std::string, std::string>& environment) const {
    ::setsid();
    for (int fd = 0; fd < 3; ++fd) ::dup2(slave_.get(), fd);
    ::ioctl(0, TIOCSCTTY, 0);
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> words;
    for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    ::execvp(words[0], words.data());
    ::_exit(127);
  }
  const std::string& read_screen(int milliseconds) {
    pollfd wanted = {master_.get(), POLLIN, 0};
    char buffer[16384];
    while (::poll(&wanted, 1, milliseconds) > 0) {
      const ssize_t size = ::read(master_.get(), buffer, sizeof buffer);
      if (size <= 0) {
        if (milliseconds > 0) ::usleep(static_cast<useconds_t>(milliseconds) * 1000);
        break;
      }
      screen_.append(buffer, static_cast<size_t>(size));
      milliseconds = 0;
    }
    return screen_;
  }

  UniqueFd master_;
  UniqueFd slave_;  // kept open, so that the settings can be looked at after the program ended
  pid_t pid_ = 0;
  std::string screen_;
};

}  // namespace holm::test
