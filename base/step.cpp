#include "base/step.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <ctime>
#include <string>

#include "base/unique_fd.h"

namespace holm {
namespace {

void trace(const char* path, std::string_view name) {
  const UniqueFd fd(::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  std::string line = std::string(name) + "\n";
  if (std::getenv("HOLM_FAULT_TRACE_TIMES")) {
    timespec now = {};
    ::clock_gettime(CLOCK_REALTIME, &now);
    line = fmt::format("{}.{:06} {} {}", now.tv_sec, now.tv_nsec / 1000, ::getpid(), line);
  }
  if (fd && ::write(fd.get(), line.data(), line.size()) < 0) return;  // a trace for tests only
}

}  // namespace

void fault_point(std::string_view name) {
  if (const char* path = std::getenv("HOLM_FAULT_TRACE")) trace(path, name);
  const char* fault = std::getenv("HOLM_FAULT");
  if (!fault) return;
  const std::string_view wanted = fault;
  const size_t colon = wanted.find(':');
  if (colon == std::string_view::npos || wanted.substr(colon + 1) != name) return;
  const std::string_view action = wanted.substr(0, colon);
  if (action == "kill") {
    ::kill(::getpid(), SIGKILL);
    ::_exit(128 + SIGKILL);  // the init of a pid namespace is immune to its own signal
  }
  if (action == "stop") ::raise(SIGSTOP);
  if (action == "error") throw Error("injected fault");
}

}  // namespace holm
