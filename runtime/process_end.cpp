#include "runtime/process_end.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/process_stat.h"
#include "base/text.h"

namespace holm::runtime {
namespace {

// struct pidfd_info of linux/pidfd.h in its first published size; Debian's headers are older than the ioctl.
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroup_id;
  uint32_t ids[12];
  int32_t exit_code;
  uint32_t core_dump;
};
static_assert(sizeof(PidfdInfo) == 72);
constexpr uint64_t kInfoExit = 1 << 3;

// -1 once it was reaped.
pid_t pid_of(int pidfd) {
  const std::string info = read_file(fmt::format("/proc/self/fdinfo/{}", pidfd));
  const size_t at = info.find("Pid:");
  if (at == std::string::npos) return -1;
  return static_cast<pid_t>(
      parse_signed(trim(std::string_view(info).substr(at + 4, info.find('\n', at) - at - 4))).value_or(-1));
}

std::optional<int> exit_status_in_pidfd(int pidfd) {
  PidfdInfo info = {};
  info.mask = kInfoExit;
  if (::ioctl(pidfd, _IOWR(0xFF, 11, PidfdInfo), &info) != 0 || (info.mask & kInfoExit) == 0)
    return std::nullopt;
  return info.exit_code;
}

// Of a process that nobody has reaped yet: field 52 of /proc/PID/stat, which root may read.
std::optional<int> exit_status_of_zombie(int pidfd) {
  std::optional<int> status;
  ignore_errors([&] {  // it is reaped in this moment
    const pid_t pid = pid_of(pidfd);
    if (pid <= 0) return;
    const auto stat = read_process_stat(pid);
    if (stat && stat->state() == 'Z' && pid_of(pidfd) == pid) status = static_cast<int>(stat->field(52));
  });
  return status;
}

InitEnd from_wait_status(int status) {
  if (WIFSIGNALED(status)) return {.code = 0, .signal = WTERMSIG(status)};
  return {.code = WEXITSTATUS(status), .signal = 0};
}

}  // namespace

InitEnd collect_end(int pidfd, Parent parent) {
  if (pidfd < 0) return {.known = false};
  if (parent == Parent::another) {
    // Whoever inherited the process reaps it sooner or later; only then newer kernels keep the status for
    // others.
    for (int attempt = 0; attempt < 50; ++attempt) {
      if (const auto status = exit_status_in_pidfd(pidfd)) return from_wait_status(*status);
      if (const auto status = exit_status_of_zombie(pidfd)) return from_wait_status(*status);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return {.known = false};
  }
  siginfo_t info = {};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED) != 0) {
    if (errno == ECHILD) return {.known = false};
    if (errno != EINTR) throw Error::system("collect the end of init");
  }
  if (info.si_code == CLD_EXITED) return {.code = info.si_status, .signal = 0};
  return {.code = 0, .signal = info.si_status};
}

}  // namespace holm::runtime
