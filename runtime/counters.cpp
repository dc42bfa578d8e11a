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
#include "runtime/account_reader.h"
#include "runtime/observe.h"

namespace holm::runtime {
namespace {

std::vector<quotas::Traffic> container_traffic(const Paths& paths, const StoredContainer& container) {
  std::vector<std::string> interfaces;
  for (const auto& nic : container.config.spec.networks) interfaces.push_back(nic.name);
  const uint32_t number = container.identity.number;
  return interface_traffic(paths, number, link_traffic(paths, number), interfaces);
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

quotas::Counters base_counters(const std::vector<quotas::CounterBase>& bases) {
  quotas::Counters counters;
  for (const quotas::CounterBase& base : bases) {
    const uint64_t held = quotas::is_total(base.name) ? base.held : 0;
    quotas::Counter& counter = counters.emplace_back();
    counter.resource = base.name;
    counter.held = held;
    counter.maxheld = std::max(held, base.peak);
    counter.failcnt = base.failures;
  }
  return counters;
}

// Adds what the ledger knows of earlier runs and of earlier looks, and lets it know of this one. A ledger
// that is damaged is left to the next sample.
void add_whole_life(const Paths& paths, const StoredContainer& container, const std::string& life,
                    CounterReport& report) {
  const std::string& uuid = container.identity.uuid;
  try {
    const auto ledger = quotas::Ledger::open_to_read(paths.ledger());
    const auto seen = ledger ? base_counters(ledger->counter_bases(uuid, life)) : quotas::Counters();
    std::vector<quotas::CounterReading> risen;
    for (const quotas::CounterReading& now : counter_readings(report.counters)) {
      const auto before = std::ranges::find(seen, now.name, &quotas::Counter::resource);
      if (quotas::is_peak_by_looks(now.name) && (before == seen.end() || before->maxheld < now.peak))
        risen.push_back(now);
    }
    report.counters = quotas::merge(seen, report.counters);
    if (risen.empty()) return;
    quotas::Ledger::open(paths.ledger(), Durability::until_reboot).write([&](quotas::LedgerWriter& writer) {
      writer.add_peaks(uuid, container.name, life, risen);
    });
  } catch (const Error& error) {
    report.warnings.push_back("what the ledger knows of it is left out or was not renewed: " +
                              error.message());
  }
}

}  // namespace

std::optional<CounterReport> read_counters(const Installation& installation,
                                           const quotas::CgroupLayout& layout, const std::string& name,
                                           const CounterPatience& patience, CounterSpan span) {
  const Observation seen = observe(installation.paths, layout, name);
  if (!seen.has_init() || seen.condition == Condition::starting) return std::nullopt;
  const StoredContainer container = load_running_container(installation, name);
  const auto cgroup =
      quotas::make_cgroup(layout, installation.paths.cgroup_parent(), container.identity.number);
  CounterReport report{name, container.identity.number, {}, {}};
  std::string life;
  try {
    // What moves fastest is read first and close together; what takes longest, last.
    quotas::Facts facts;
    const quotas::Usage usage = cgroup->look(quotas::Cgroup::Depth::all, facts);
    const auto traffic = container_traffic(installation.paths, container);
    if (patience.processes.count() > 0)
      report.warnings =
          quotas::add_process_facts(cgroup->processes(), seen.state->init.pid, patience.processes, facts);
    add_disk(installation.paths, container, patience.disk, facts, report.warnings);
    report.counters = quotas::make_counters(facts, traffic);
    life = counters_life(seen.state->boot_id, usage);
  } catch (const Error&) {
    // A process that ends has lost its namespaces and files a moment before its pidfd tells so.
    if (!sys::pidfd_wait_ended(seen.init.get(), std::chrono::seconds(2))) throw;
  }
  if (sys::pidfd_wait_ended(seen.init.get(), std::chrono::milliseconds(0))) return std::nullopt;
  if (span == CounterSpan::life && !life.empty()) add_whole_life(installation.paths, container, life, report);
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
