#include "runtime/spawn_monitor.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/sys.h"
#include "isolation/protected_program.h"
#include "quotas/cgroup.h"
#include "quotas/systemd_scope.h"

namespace holm::runtime {
namespace {

// Runs in the forked child: becomes the monitor. Only calls what is safe between fork and exec of a
// single-threaded process.
[[noreturn]] void become_monitor(int program, const MonitorOptions& options, int report,
                                 const std::vector<int>& others) {
  try {
    sys::reset_inherited();
    // First out of the way of the numbers that they shall get.
    std::vector<int> sources = {::fcntl(report, F_DUPFD, 64)};
    for (const int other : others) sources.push_back(::fcntl(other, F_DUPFD, 64));
    const int own_program = ::fcntl(program, F_DUPFD_CLOEXEC, 64);
    for (size_t i = 0; i < sources.size(); ++i) {
      if (::dup2(sources[i], kReportFd + static_cast<int>(i)) < 0)
        throw Error::system("pass descriptors to the monitor");
    }
    for (const int source : sources) ::close(source);
    isolation::execute_protected(own_program, monitor_arguments(options));
  } catch (const Error& error) {
    Channel channel{UniqueFd(report)};
    ignore_errors([&] { channel.send(Message::failed, error.encode()); });  // the parent sees the end of file
  }
  ::_exit(kExitFailed);
}

// Under systemd the monitor must not stand in the session or service of whoever calls this, which may end
// before it.
pid_t fork_for_monitor(const Paths& paths) {
  quotas::CgroupLayout layout;
  if (quotas::detect_cgroup_manager() == quotas::CgroupLayout::Manager::systemd)
    layout = quotas::detect_cgroup_layout();
  return quotas::fork_into_scope(layout, paths.cgroup_parent(), paths.scope_lock());
}

}  // namespace

Channel spawn_monitor(const Paths& paths, const MonitorOptions& options, const FileLock* lock,
                      const std::vector<UniqueFd>& streams) {
  const UniqueFd program = isolation::open_protected_program();
  auto [ours, theirs] = make_channel();
  std::vector<int> numbers;
  if (lock) numbers.push_back(lock->fd());
  for (const UniqueFd& stream : streams) numbers.push_back(stream.get());
  const pid_t child = fork_for_monitor(paths);
  if (child == 0) become_monitor(program.get(), options, theirs.fd(), numbers);
  return std::move(ours);
}

}  // namespace holm::runtime
