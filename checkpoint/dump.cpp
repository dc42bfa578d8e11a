#include "checkpoint/dump.h"

#include <fcntl.h>
#include <fmt/core.h>

#include "base/error.h"
#include "base/interruption.h"
#include "base/sys.h"
#include "checkpoint/criu_rpc.pb.h"
#include "checkpoint/failure.h"
#include "runtime/host_side.h"
#include "runtime/settle.h"

namespace holm::checkpoint {

using runtime::Condition;
using runtime::Installation;
using runtime::Observation;

Observation require_savable(const Installation& installation, const std::string& name) {
  Observation seen = runtime::look(installation, name);
  if (seen.condition == Condition::damaged) throw Error(seen.problem);
  if (!seen.has_init()) throw runtime::not_running(name);
  if (seen.condition != Condition::running && seen.condition != Condition::paused)
    throw Error(fmt::format("it is {}", runtime::condition_name(seen.condition)))
        .hint("try again in a moment");
  return seen;
}

DumpTarget find_dump_target(const Installation& installation, const std::string& name) {
  DumpTarget target;
  target.seen = require_savable(installation, name);
  target.container = runtime::load_running_container(installation, name);
  target.cgroup = runtime::container_cgroup(installation.paths, target.container.identity.number);
  target.run_directory = installation.paths.runtime(name);
  target.criu = find_criu();
  return target;
}

void fill_dump_options(rpc::Options& options, const DumpTarget& target,
                       std::optional<std::chrono::seconds> timeout) {
  options.set_log_file(kCriuLog);
  options.set_log_level(kCriuLogLevel);
  options.set_pid(target.seen.state->init.pid);
  options.set_notify_scripts(true);
  options.set_timeout(static_cast<uint32_t>(timeout.value_or(kFreezeTimeout).count()));
  options.set_freeze_cgroup(target.cgroup->freezer_directory());
  options.set_manage_cgroups_mode(rpc::CGROUP_SOFT);
}

void set_parent(rpc::Options& options, const std::string& parent) {
  options.set_parent_img(parent);
  options.set_track_mem(true);
  options.set_auto_dedup(true);
}

void run_dump(const DumpTarget& target, const FileLock& lock, const std::string& images, rpc::Request request,
              const DumpEvents& events) {
  const UniqueFd images_fd = sys::open(images, O_RDONLY | O_DIRECTORY);
  const UniqueFd work = sys::open(target.run_directory, O_RDONLY | O_DIRECTORY);
  const UniqueFd output =
      sys::open(target.run_directory + "/criu.out", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
  request.mutable_opts()->set_images_dir_fd(images_fd.get());
  request.mutable_opts()->set_work_dir_fd(work.get());
  const std::string log = target.run_directory + "/" + kCriuLog;
  const auto look = [&] {
    check_log_size(log);
    if (events.look) events.look();
  };
  const auto on_event = [&](const std::string& event, pid_t pid) {
    if (events.on_event) events.on_event(event, pid);
  };
  Criu criu(target.criu, Lifetime::own, {lock.fd()}, output.get());
  const std::string version = criu.version();
  if (events.on_version) events.on_version(version);
  const rpc::Answer answer = criu.call(request, on_event, {Interruption::fd(), look});
  if (!answer.success()) throw explain_failure(log, answer.cr_errno());
}

}  // namespace holm::checkpoint
