// What a container has on the host before its init exists, be it started or restored.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/undo.h"
#include "quotas/cgroup.h"
#include "runtime/container_store.h"
#include "runtime/network_plan.h"

namespace holm::runtime {

// The cgroup of a container of this installation.
std::unique_ptr<quotas::Cgroup> container_cgroup(const Paths& paths, uint32_t number);

struct HostSide {
  quotas::CgroupLayout cgroup_layout;
  std::unique_ptr<quotas::Cgroup> cgroup;  // with its limits, which were read back, and delegated
  NetworkPlan network;                     // of links that are yet to be made
  std::vector<std::string> warnings;
};
// Makes it. Whatever it made is registered in `undo`.
HostSide make_host_side(const Installation& installation, const StoredContainer& container, UndoStack& undo);

}  // namespace holm::runtime
