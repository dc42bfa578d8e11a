#include "runtime/monitor_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

#include "base/error.h"
#include "base/sys.h"

namespace holm::runtime {

Inherited take_inherited(const MonitorOptions& options) {
  Inherited inherited;
  if (!options.adopt) {
    inherited.report.emplace(UniqueFd(kReportFd));
    inherited.lock.reset(kLockFd);
  }
  if (options.stdio == StdioMode::pipes) {
    for (int i = 0; i < 3; ++i) inherited.streams[i].reset(kFirstStreamFd + i);
  } else if (options.foreground) {
    inherited.console_client.reset(kFirstStreamFd);
  }
  sys::close_on_exec_from(kReportFd);
  return inherited;
}

void detach_from_session(const std::string& run_directory) {
  ::setsid();  // fails only where this already leads a session
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU})
    ::signal(signal, SIG_IGN);
  ::signal(SIGCHLD, SIG_DFL);
  if (::chdir("/") != 0) throw Error::system("enter '/'");
  ::umask(022);
  const UniqueFd null = sys::open("/dev/null", O_RDWR);
  const UniqueFd log =
      sys::open(run_directory + "/monitor.log", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
  if (::dup2(null.get(), 0) < 0 || ::dup2(log.get(), 1) < 0 || ::dup2(log.get(), 2) < 0)
    throw Error::system("redirect the monitor's streams");
  ::prctl(PR_SET_NAME, "holm-monitor");
}

void log_line(const std::string& text) {
  // A full /run must not end the monitor.
  ignore_errors([&] { fmt::print(stderr, "{} {}\n", std::time(nullptr), text); });
}

}  // namespace holm::runtime
