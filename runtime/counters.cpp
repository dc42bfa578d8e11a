#include "runtime/counters.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "quotas/beancounters.h"
#include "quotas/cgroup.h"
#include "quotas/disk_use.h"
#include "quotas/process_facts.h"
#include "runtime/account.h"
#include "runtime/observe.h"

namespace holm::runtime {
namespace {

// Each nat interface has its own pair; the other modes have no link of the container's own.
std::vector<quotas::Traffic> container_traffic(const Paths& paths, const StoredContainer& container) {
  const std::vector<LinkTraffic> links = link_traffic(paths, container.identity.number);
  std::vector<quotas::Traffic> traffic;
  const auto& networks = container.config.spec.networks;
  for (unsigned index = 0; index < networks.size(); ++index) {
    const auto link =
        std::ranges::find(links, paths.veth(container.identity.number, index), &LinkTraffic::link);
    if (link == links.end()) continue;
    const netsetup::Traffic& inside = link->traffic;
    traffic.push_back({networks[index].name, inside.received_bytes, inside.received_packets,
                       inside.sent_bytes, inside.sent_packets});
  }
  return traffic;
}

// Where a container's own files are: above its template, or all of its directory.
std::string own_files(const Paths& paths, const StoredContainer& container) {
  const RootSpec& root = container.config.spec.root;
  return root.kind == RootKind::directory ? root.directory : paths.container(container.name) + "/upper";
}

void add_disk(const Paths& paths, const StoredContainer& container, std::chrono::milliseconds patience,
              quotas::Facts& facts, std::vector<std::string>& warnings) {
  if (patience.count() == 0) return;
  const auto use = quotas::measure_disk_use(own_files(paths, container), patience);
  if (use)
    quotas::add_disk_facts(*use, facts);
  else
    warnings.push_back(fmt::format(
        "diskspace and diskinodes are left out: its files could not be counted in {} ms; '--disk 10m' gives "
        "more time, '--disk 0' leaves them out",
        patience.count()));
}

std::string last_file(const Paths& paths, const std::string& name) {
  return paths.runtime(name) + "/counters.last";
}

}  // namespace

std::optional<CounterReport> read_counters(const Installation& installation,
                                           const quotas::CgroupLayout& layout, const std::string& name,
                                           const CounterPatience& patience, const quotas::Counters& base) {
  const Observation seen = observe(installation.paths, layout, name);
  if (!seen.has_init() || seen.condition == Condition::starting) return std::nullopt;
  const StoredContainer container = load_running_container(installation, name);
  const auto cgroup =
      quotas::make_cgroup(layout, installation.paths.cgroup_parent(), container.identity.number);
  CounterReport report{name, container.identity.number, {}, {}};
  try {
    // What moves fastest is read first and close together; what takes longest, last.
    quotas::Facts facts;
    cgroup->add_facts(facts);
    const auto traffic = container_traffic(installation.paths, container);
    if (patience.processes.count() > 0)
      report.warnings =
          quotas::add_process_facts(cgroup->processes(), seen.state->init.pid, patience.processes, facts);
    add_disk(installation.paths, container, patience.disk, facts, report.warnings);
    report.counters = quotas::merge(base, quotas::make_counters(facts, traffic));
  } catch (const Error&) {
    // A process that ends has lost its namespaces and files a moment before its pidfd tells so.
    if (!sys::pidfd_wait_ended(seen.init.get(), std::chrono::seconds(2))) throw;
  }
  if (sys::pidfd_wait_ended(seen.init.get(), std::chrono::milliseconds(0))) return std::nullopt;
  return report;
}

std::optional<quotas::Counters> load_last_counters(const Paths& paths, const std::string& name) {
  const auto text = read_file_if_exists(last_file(paths, name));
  const auto kept = text ? quotas::parse_beancounters(*text) : std::nullopt;
  if (!kept || kept->size() != 1) return std::nullopt;
  return kept->front().counters;
}

void keep_last_counters(const Paths& paths, const CounterReport& report) {
  replace_file(last_file(paths, report.name),
               quotas::format_beancounters({{report.number, report.counters}}));
}

}  // namespace holm::runtime
