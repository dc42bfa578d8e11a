#include "quotas/kernel_objects.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <tuple>

namespace holm::quotas {
namespace {

enum class Comparison { equal, less, greater, unknown };

Comparison compare(pid_t a, pid_t b, int type, int descriptor_a, int descriptor_b) {
  const long result = ::syscall(SYS_kcmp, a, b, type, descriptor_a, descriptor_b);
  if (result == 0) return Comparison::equal;
  if (result == 1) return Comparison::less;
  if (result == 2) return Comparison::greater;
  // One of the two is gone. Most of what vanishes was a copy that a process had inherited.
  if (result < 0 && (errno == ESRCH || errno == EBADF)) return Comparison::equal;
  return Comparison::unknown;
}

}  // namespace

bool KernelObjects::Order::operator()(const Name& a, const Name& b) const {
  const int type = kind == Kind::open_file ? KCMP_FILE : KCMP_VM;
  switch (compare(a.process, b.process, type, a.descriptor, b.descriptor)) {
    case Comparison::equal:
    case Comparison::greater:
      return false;
    case Comparison::less:
      return true;
    case Comparison::unknown:
      break;
  }
  return std::tie(a.process, a.descriptor) < std::tie(b.process, b.descriptor);
}

bool KernelObjects::add(size_t likeness, pid_t process, int descriptor) {
  auto& alike = alike_.try_emplace(likeness, Order{kind_}).first->second;
  if (!alike.insert({process, descriptor}).second) return false;
  ++size_;
  return true;
}

bool shares_descriptors(pid_t task, pid_t other) {
  const Comparison found = compare(task, other, KCMP_FILES, 0, 0);
  return found == Comparison::equal || found == Comparison::unknown;
}

}  // namespace holm::quotas
