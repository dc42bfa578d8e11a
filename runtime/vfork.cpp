#include "runtime/vfork.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <unordered_set>

#include "base/process_stat.h"

namespace holm::runtime {

bool share_memory(pid_t a, pid_t b) { return ::syscall(SYS_kcmp, a, b, KCMP_VM, 0, 0) == 0; }

std::optional<Vfork> find_vfork(const std::vector<pid_t>& processes) {
  const std::unordered_set<pid_t> known(processes.begin(), processes.end());
  for (const pid_t pid : processes) {
    const auto stat = read_process_stat(pid);
    if (!stat || stat->state() == 'Z' || !known.contains(stat->parent())) continue;
    if (share_memory(stat->parent(), pid)) return Vfork{stat->parent(), pid};
  }
  return std::nullopt;
}

}  // namespace holm::runtime
