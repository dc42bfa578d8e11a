#include "checkpoint/dump.h"

#include <fmt/core.h>

#include "base/error.h"
#include "base/interruption.h"
#include "checkpoint/criu_rpc.pb.h"
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
  options.set_pid(target.seen.state->init.pid);
  options.set_timeout(static_cast<uint32_t>(timeout.value_or(kFreezeTimeout).count()));
  options.set_freeze_cgroup(target.cgroup->freezer_directory());
}

void set_parent(rpc::Options& options, const std::string& parent) {
  options.set_parent_img(parent);
  options.set_track_mem(true);
  options.set_auto_dedup(true);
}

CriuWork dump_work(const DumpTarget& target, const FileLock& lock, const std::string& images) {
  CriuWork work;
  work.program = target.criu;
  work.images = images;
  work.run_directory = target.run_directory;
  work.inherited = {lock.fd()};
  work.watch = {Interruption::fd(), [] { Interruption::check(); }};
  return work;
}

}  // namespace holm::checkpoint
