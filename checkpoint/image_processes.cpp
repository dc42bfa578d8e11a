#include "checkpoint/image_processes.h"

#include <linux/sched.h>
#include <linux/seccomp.h>

#include <algorithm>

#include "base/error.h"
#include "checkpoint/criu_images.pb.h"
#include "isolation/resource_limits.h"
#include "isolation/seccomp_filter.h"
#include "runtime/payload.h"

namespace holm::checkpoint {
namespace {

constexpr uint32_t kModeFilter = 2;  // SECCOMP_MODE_FILTER
constexpr uint32_t kMaxFilters = 4096;

void reduce(google::protobuf::RepeatedField<uint32_t>& words, const isolation::CapabilitySet& bounding) {
  for (int i = 0; i < words.size(); ++i)
    words.Set(i, i < 2 ? words.Get(i) & static_cast<uint32_t>(bounding.bits >> (32 * i)) : 0);
}

void reduce_credentials(images::Credentials& credentials, const ProcessRights& rights) {
  for (auto* words :
       {credentials.mutable_cap_inh(), credentials.mutable_cap_prm(), credentials.mutable_cap_eff(),
        credentials.mutable_cap_bnd(), credentials.mutable_cap_amb()})
    reduce(*words, rights.bounding);
  if (rights.no_new_privs) credentials.set_no_new_privs(1);
  // Of the host that it was saved on; here it gets what whatever the monitor starts gets.
  credentials.clear_lsm_profile();
  credentials.clear_lsm_sockcreate();
}

// What CRIU sets as the host's root, and the container's root may not: priorities above the usual, real time.
void reduce_scheduling(images::Thread& thread) {
  if (thread.sched_nice() < 0) thread.set_sched_nice(0);
  const uint32_t policy = thread.sched_policy();
  if (policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE) return;
  thread.set_sched_policy(SCHED_NORMAL);
  thread.set_sched_prio(0);
}

// Each has all of them: what is not in the image would be the monitor's.
void reduce_limits(images::ResourceLimits& limits, const ProcessRights& rights) {
  for (int number = limits.rlimits_size(); rights.limits.contains(number); ++number) {
    images::ResourceLimit& added = *limits.add_rlimits();
    added.set_cur(rights.limits.at(number).rlim_cur);
    added.set_max(rights.limits.at(number).rlim_max);
  }
  for (int number = 0; number < limits.rlimits_size(); ++number) {
    images::ResourceLimit& limit = *limits.mutable_rlimits(number);
    const auto bound = rights.limits.find(number);
    if (bound == rights.limits.end()) continue;
    limit.set_max(std::min<uint64_t>(limit.max(), bound->second.rlim_max));
    limit.set_cur(std::min(limit.cur(), limit.max()));
  }
}

}  // namespace

ProcessRights process_rights(const runtime::ContainerSpec& spec) {
  ProcessRights rights;
  rights.bounding = isolation::bounding_set(spec.security);
  rights.limits = isolation::granted_limits(spec.resource_limits);
  rights.no_new_privs = spec.payload.kind == runtime::PayloadKind::command;
  rights.filter = isolation::seccomp_filter_bytes(runtime::seccomp_variant(spec));
  return rights;
}

void reduce_process(images::Core& core, const ProcessRights& rights, SeccompRoots& roots) {
  if (core.has_tc()) {
    images::Task& task = *core.mutable_tc();
    reduce_limits(*task.mutable_rlimits(), rights);
    if (task.oom_score_adj() < 0) task.set_oom_score_adj(0);
    task.clear_old_seccomp_mode();
    task.clear_old_seccomp_filter();
  }
  if (!core.has_thread_core()) return;  // a process that has ended, and was not waited for
  images::Thread& thread = *core.mutable_thread_core();
  if (thread.seccomp_mode() == kModeFilter)
    roots.insert(thread.seccomp_filter());
  else if (core.has_tc() || thread.has_seccomp_mode())
    throw Error("a process of it has no system call filter");
  if (!thread.has_creds()) throw Error("a process of it has no credentials");
  reduce_credentials(*thread.mutable_creds(), rights);
  reduce_scheduling(thread);
}

// A chain is kept from its first filter on: `prev` leads to the one that was installed next.
void rewrite_filters(images::SeccompFilters& filters, const ProcessRights& rights,
                     const SeccompRoots& roots) {
  const auto count = static_cast<uint32_t>(filters.seccomp_filters_size());
  if (count > kMaxFilters) throw Error("it has too many system call filters");
  for (uint32_t i = 0; i < count; ++i) {
    images::SeccompFilter& filter = *filters.mutable_seccomp_filters(static_cast<int>(i));
    if (filter.has_prev() && filter.prev() >= i) throw Error("its system call filters have no end");
    // No other flags: with one of them, somebody else could answer its calls.
    filter.set_flags(filter.flags() & SECCOMP_FILTER_FLAG_TSYNC);
  }
  for (const uint32_t root : roots) {
    if (root >= count) throw Error("a process of it has a system call filter that is not there");
    filters.mutable_seccomp_filters(static_cast<int>(root))->set_filter(std::string(rights.filter));
  }
}

}  // namespace holm::checkpoint
