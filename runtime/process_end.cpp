#include "runtime/process_end.h"

#include <sys/ioctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>

#include "base/error.h"

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

std::optional<int> exit_status_in_pidfd(int pidfd) {
  PidfdInfo info = {};
  info.mask = kInfoExit;
  if (::ioctl(pidfd, _IOWR(0xFF, 11, PidfdInfo), &info) != 0 || (info.mask & kInfoExit) == 0)
    return std::nullopt;
  return info.exit_code;
}

InitEnd from_wait_status(int status) {
  if (WIFSIGNALED(status)) return {.code = 0, .signal = WTERMSIG(status)};
  return {.code = WEXITSTATUS(status), .signal = 0};
}

}  // namespace

InitEnd collect_end(int pidfd, Parent parent) {
  if (pidfd < 0) return {.known = false};
  if (parent == Parent::another) {
    // Whoever inherited the process reaps it in a moment; only then the kernel keeps the status for others.
    for (int attempt = 0; attempt < 50; ++attempt) {
      if (const auto status = exit_status_in_pidfd(pidfd)) return from_wait_status(*status);
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
