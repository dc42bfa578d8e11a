#include "runtime/vfork.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <unordered_set>

#include "base/process_stat.h"

namespace holm::runtime {

std::optional<Vfork> find_vfork(const std::vector<pid_t>& processes) {
  const std::unordered_set<pid_t> known(processes.begin(), processes.end());
  for (const pid_t pid : processes) {
    const auto stat = read_process_stat(pid);
    if (!stat || stat->state() == 'Z' || !known.contains(stat->parent())) continue;
    const bool is_shared = ::syscall(SYS_kcmp, stat->parent(), pid, KCMP_VM, 0, 0) == 0;
    if (is_shared) return Vfork{stat->parent(), pid};
  }
  return std::nullopt;
}

}  // namespace holm::runtime
