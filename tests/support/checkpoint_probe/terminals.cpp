// Terminals of the container's own devpts.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "object.h"
#include "partner.h"

namespace probe {
namespace {

struct Terminal {
  Fd master, slave;
};

std::string slave_path(const Fd& master) {
  char path[100];
  must_be_zero(::ptsname_r(master.get(), path, sizeof path), "ptsname_r");
  return path;
}

Terminal make_terminal() {
  Terminal terminal;
  terminal.master = Fd(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (terminal.master.get() < 0) throw Skipped("no /dev/ptmx");
  must(::grantpt(terminal.master.get()), "grantpt");
  must(::unlockpt(terminal.master.get()), "unlockpt");
  terminal.slave = open_file(slave_path(terminal.master), O_RDWR | O_NOCTTY);
  return terminal;
}

termios modes_of(const Fd& terminal) {
  termios modes = {};
  must(::tcgetattr(terminal.get(), &modes), "tcgetattr");
  return modes;
}

void make_raw(const Fd& terminal) {
  termios modes = modes_of(terminal);
  ::cfmakeraw(&modes);
  must(::tcsetattr(terminal.get(), TCSANOW, &modes), "tcsetattr");
}

// Size, modes, and data that goes both ways.
class TerminalModes : public Object {
 public:
  void set_up() override { terminal_ = make_terminal(); }
  void change(int round) override {
    const winsize size = {static_cast<unsigned short>(20 + round), static_cast<unsigned short>(70 + round), 0,
                          0};
    must(::ioctl(terminal_.master.get(), TIOCSWINSZ, &size), "TIOCSWINSZ");
    make_raw(terminal_.slave);
    modes_ = modes_of(terminal_.slave);
    modes_.c_cc[VMIN] = static_cast<cc_t>(1 + round % 3);
    modes_.c_cc[VINTR] = static_cast<cc_t>(5 + round % 3);
    if (round % 2) modes_.c_iflag |= IXOFF;
    must(::tcsetattr(terminal_.slave.get(), TCSANOW, &modes_), "tcsetattr");
  }
  void verify(int round) override {
    winsize size = {};
    must(::ioctl(terminal_.slave.get(), TIOCGWINSZ, &size), "TIOCGWINSZ");
    expect_equal("rows", size.ws_row, 20 + round);
    expect_equal("columns", size.ws_col, 70 + round);
    const termios found = modes_of(terminal_.slave);
    expect_equal("input modes", found.c_iflag, modes_.c_iflag);
    expect_equal("output modes", found.c_oflag, modes_.c_oflag);
    expect_equal("control modes", found.c_cflag, modes_.c_cflag);
    expect_equal("local modes", found.c_lflag, modes_.c_lflag);
    for (const int which : {VMIN, VTIME, VINTR, VEOF})
      expect_equal(text("character ", which), found.c_cc[which], modes_.c_cc[which]);
    write_all(terminal_.master.get(), "typed");
    expect_data(terminal_.slave.get(), "what was typed", "typed");
    write_all(terminal_.slave.get(), "printed");
    expect_data(terminal_.master.get(), "what was printed", "printed");
  }

 private:
  Terminal terminal_;
  termios modes_ = {};
};

enum class Unread { typed, printed };

template <Unread unread>
class TerminalData : public Object {
 public:
  void set_up() override {
    terminal_ = make_terminal();
    make_raw(terminal_.slave);
  }
  void change(int round) override { write_all(writer().get(), text("unread data of ", round)); }
  void verify(int round) override {
    expect_data(reader().get(), "terminal", text("unread data of ", round));
    expect_nothing_more(reader().get(), "terminal");
  }

 private:
  const Fd& writer() const { return unread == Unread::typed ? terminal_.master : terminal_.slave; }
  const Fd& reader() const { return unread == Unread::typed ? terminal_.slave : terminal_.master; }
  Terminal terminal_;
};

// A session on it, as a shell has it: its leader, and a job in the foreground that gets the keys' signals.
// Only they have the slave open, as CRIU takes the session from the first process where it finds it.
enum class AskedToo { nobody, job };

template <AskedToo asked>
class TerminalSession : public Object {
 public:
  void set_up() override {}
  void change(int) override {
    terminal_ = make_terminal();
    leader_ = std::make_unique<Partner>(Inherits::descriptors, [this](int request) { lead(request); });
    leader_->ask(kBegin);
    terminal_.slave.close();
  }
  void verify(int) override {
    leader_->ask(kVerify);
    write_all(terminal_.master.get(), "\x03");
    leader_->ask(kAwaitEndOfJob);
  }

 private:
  enum Request { kBegin, kVerify, kAwaitEndOfJob };

  void lead(int request) {
    if (request == kBegin) begin();
    if (request == kAwaitEndOfJob) {
      expect_equal("end of the job", describe_status(job_->wait_status()), "signal 2");
      return;
    }
    const Fd own = open_file("/dev/tty", O_RDWR);
    expect_equal("session of the terminal", must(::tcgetsid(own.get()), "tcgetsid"), ::getpid());
    expect_equal("foreground", must(::tcgetpgrp(own.get()), "tcgetpgrp"), job_->pid());
    if (asked == AskedToo::job) job_->ask(0);
  }
  void begin() {
    must(::setsid(), "setsid");
    must(::ioctl(terminal_.slave.get(), TIOCSCTTY, 0), "TIOCSCTTY");
    terminal_.master.close();
    job_ = std::make_unique<Partner>(Inherits::descriptors, [](int) {
      const Fd own = open_file("/dev/tty", O_RDWR);
      expect_equal("foreground, seen by the job", must(::tcgetpgrp(own.get()), "tcgetpgrp"), ::getpid());
    });
    must(::setpgid(job_->pid(), 0), "setpgid");
    std::signal(SIGTTOU, SIG_IGN);
    must(::tcsetpgrp(terminal_.slave.get(), job_->pid()), "tcsetpgrp");
  }

  Terminal terminal_;
  std::unique_ptr<Partner> leader_, job_;
};

constexpr Kind kKinds[] = {
    {"terminal_modes", make<TerminalModes>},
    {"terminal_unread_input", make<TerminalData<Unread::typed>>},
    {"terminal_unread_output", make<TerminalData<Unread::printed>>},
    {"terminal_session", make<TerminalSession<AskedToo::nobody>>},
    {"terminal_of_job", make<TerminalSession<AskedToo::job>>},
};

}  // namespace

std::span<const Kind> terminal_objects() { return kKinds; }

}  // namespace probe
