// What dumps have in common: whose processes they are about, and how CRIU is asked for one.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/file_lock.h"
#include "checkpoint/criu_request.h"
#include "quotas/cgroup.h"
#include "runtime/observe.h"

namespace holm::checkpoint {

struct DumpTarget {
  runtime::Observation seen;
  runtime::StoredContainer container;
  std::unique_ptr<quotas::Cgroup> cgroup;
  std::string run_directory;  // where CRIU writes its log
  std::string criu;           // the program
};

// Throws where the container is in no state to be saved.
runtime::Observation require_savable(const runtime::Installation& installation, const std::string& name);
DumpTarget find_dump_target(const runtime::Installation& installation, const std::string& name);

inline constexpr std::chrono::seconds kFreezeTimeout(120);

// Which processes, and how they are stopped. `timeout`: for stopping them, kFreezeTimeout where there is
// none.
void fill_dump_options(rpc::Options& options, const DumpTarget& target,
                       std::optional<std::chrono::seconds> timeout);
// The images build on those in that directory, a path relative to them, and take away from there what they
// have themselves.
void set_parent(rpc::Options& options, const std::string& parent);

// How CRIU is asked. `lock`: the container's, which CRIU keeps until it has undone or done all of it, also
// where this process is killed.
CriuWork dump_work(const DumpTarget& target, const FileLock& lock, const std::string& images);

}  // namespace holm::checkpoint
