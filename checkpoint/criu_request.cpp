#include "checkpoint/criu_request.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/statvfs.h>

#include <cerrno>

#include "base/sys.h"
#include "checkpoint/criu_rpc.pb.h"
#include "checkpoint/failure.h"
#include "quotas/hierarchy_options.h"
#include "runtime/restore_moment.h"

namespace holm::checkpoint {
namespace {

constexpr int kLogLevel = 4;

// CRIU and the programs that it has write its images may not say why they could not.
bool is_disk_full(int directory) {
  constexpr uint64_t kNothing = 64 << 10;
  struct statvfs status = {};
  return ::fstatvfs(directory, &status) == 0 && status.f_bfree * status.f_frsize < kNothing;
}

}  // namespace

void fill_common_options(rpc::Options& options) {
  options.set_tcp_established(true);
  options.set_file_locks(true);
  options.set_shell_job(true);  // whose terminal is the console, which comes from outside
  options.set_link_remap(true);
  options.set_evasive_devices(true);
  options.set_orphan_pts_master(true);
  options.set_network_lock(rpc::LOCK_SKIP);  // Holm's links are silent meanwhile
}

void perform(rpc::Request request, const CriuWork& work) {
  const std::string log = work.run_directory + "/" + kCriuLog;
  const UniqueFd images = sys::open(work.images, O_RDONLY | O_DIRECTORY);
  const UniqueFd directory = sys::open(work.run_directory, O_RDONLY | O_DIRECTORY);
  const UniqueFd output = sys::open(work.run_directory + "/" + runtime::kCriuOutput,
                                    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
  rpc::Options& options = *request.mutable_opts();
  options.set_images_dir_fd(images.get());
  options.set_work_dir_fd(directory.get());
  options.set_log_file(kCriuLog);
  options.set_log_level(kLogLevel);
  options.set_notify_scripts(true);
  options.set_manage_cgroups_mode(rpc::CGROUP_SOFT);
  const auto look = [&] {
    check_log_size(log);
    if (work.watch.look) work.watch.look();
  };
  const auto on_event = [&](const std::string& event, pid_t pid) {
    if (work.on_event) work.on_event(event, pid);
  };
  const quotas::HierarchyOptions kept;
  Criu criu(work.program, work.lifetime, work.inherited, output.get());
  if (work.on_version) work.on_version(criu.version());
  const rpc::Answer answer = criu.call(request, on_event, {work.watch.fd, look});
  if (answer.success()) return;
  Failure failure = explain_failure(log, answer.cr_errno());
  if (is_disk_full(images.get()))
    throw Error::system(ENOSPC, fmt::format("write below '{}'", work.images))
        .hint("make room there, or see 'SPACE' in holm-checkpoint(1)")
        .also(failure.error.message());
  if (failure.passes) throw PassingFailure(std::move(failure.error));
  throw std::move(failure.error);
}

}  // namespace holm::checkpoint
