#include "quotas/process_facts.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/sys.h"
#include "quotas/file_locks.h"
#include "quotas/network_facts.h"
#include "quotas/process_census.h"
#include "quotas/pty_facts.h"

namespace holm::quotas {
namespace {

UniqueFd open_namespace(const std::string& process, const char* name) {
  return sys::open(fmt::format("/proc/{}/ns/{}", process, name), O_RDONLY);
}

// Whether the process has its own: user 0 or the network of the host's namespace is the host's.
bool is_own(const UniqueFd& its, const char* name) {
  const struct stat own = sys::stat_fd(open_namespace("self", name).get(), name);
  const struct stat other = sys::stat_fd(its.get(), name);
  return own.st_dev != other.st_dev || own.st_ino != other.st_ino;
}

}  // namespace

std::vector<std::string> add_process_facts(const std::vector<pid_t>& processes, pid_t init,
                                           std::chrono::milliseconds patience, Facts& facts) {
  const std::string process = std::to_string(init);
  const UniqueFd network = open_namespace(process, "net"), users = open_namespace(process, "user");

  const ProcessCensus census = take_census(processes, patience);
  facts.files = census.files;
  facts.tcp_sockets = census.tcp_sockets.size();
  facts.other_sockets = census.other_sockets.size();
  facts.private_memory = census.private_memory;
  const HeldLocks locks = count_file_locks(census);
  facts.file_locks = locks.count;
  if (is_own(users, "user")) {
    uint64_t queued = 0;
    for (const auto& [user, signals] : census.queued_signals) queued += signals;
    facts.queued_signals = queued;
  }
  add_network_facts(network.get(), is_own(network, "net"), census, patience, facts);
  const bool has_ptys = add_pty_facts(init, facts);

  std::vector<std::string> warnings;
  if (!census.is_complete)
    warnings.push_back(fmt::format(
        "its {} processes hold more open files than could be looked at in {} s of CPU time: numfile, "
        "numtcpsock, numothersock and privvmpages are too small",
        processes.size(), patience.count() / 1000));
  if (!locks.is_complete)
    warnings.emplace_back("the host has more file locks than could be looked at: numflock is too small");
  if (!has_ptys) warnings.emplace_back("it has more mounts than could be looked at: numpty is left out");
  return warnings;
}

}  // namespace holm::quotas
