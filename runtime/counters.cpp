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

namespace holm::runtime {
namespace {

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

}  // namespace

CounterReader::CounterReader(const Installation& installation, CounterPatience patience, CounterSpan span)
    : installation_(installation),
      patience_(patience),
      span_(span),
      layout_(quotas::detect_cgroup_layout()),
      links_read_ns_(boottime_now_ns()),
      links_(installation.paths) {
  if (span == CounterSpan::run) return;
  try {
    ledger_ = quotas::Ledger::open_to_read(installation.paths.ledger());
  } catch (const Error& error) {  // a damaged one is left to the next sample
    problem_ = "what earlier runs counted is left out: " + error.message();
  }
}

std::optional<CounterReport> CounterReader::read(const Observation& seen) const {
  if (!seen.has_init() || seen.condition == Condition::starting) return std::nullopt;
  const StoredContainer container = load_running_container(installation_, seen.name);
  const auto cgroup =
      quotas::make_cgroup(layout_, installation_.paths.cgroup_parent(), container.identity.number);
  CounterReport report;
  report.name = seen.name;
  report.number = container.identity.number;
  report.uuid = container.identity.uuid;
  report.started_at = seen.state->started_at;
  report.restarts = seen.state->restarts;
  try {
    // What moves fastest is read first and close together; what takes longest, last.
    const quotas::Usage usage = cgroup->look(quotas::Cgroup::Depth::all, report.facts);
    const auto traffic = traffic_of(*seen.state);
    if (patience_.processes.count() > 0)
      report.warnings = quotas::add_process_facts(cgroup->processes(), seen.state->init.pid,
                                                  patience_.processes, report.facts);
    add_disk(installation_.paths, container, patience_.disk, report.facts, report.warnings);
    report.counters = quotas::make_counters(report.facts, traffic);
    report.life = counters_life(seen.state->boot_id, usage);
  } catch (const Error&) {
    // A process that ends has lost its namespaces and files a moment before its pidfd tells so.
    if (!sys::pidfd_wait_ended(seen.init.get(), std::chrono::seconds(2))) throw;
  }
  if (sys::pidfd_wait_ended(seen.init.get(), std::chrono::milliseconds(0))) return std::nullopt;
  if (span_ == CounterSpan::life && !report.life.empty()) add_earlier(report);
  return report;
}

void CounterReader::add_earlier(CounterReport& report) const {
  std::vector<quotas::CounterBase> bases;
  try {
    if (ledger_) bases = ledger_->counter_bases(report.uuid, report.life);
  } catch (const Error& error) {  // a damaged ledger must not hide what the kernel tells
    report.warnings.push_back("what earlier runs counted is left out: " + error.message());
  }
  for (const quotas::CounterReading& now : counter_readings(report.counters)) {
    const auto known = std::ranges::find(bases, now.name, &quotas::CounterBase::name);
    if (quotas::is_peak_by_looks(now.name, report.facts) && (known == bases.end() || known->peak < now.peak))
      report.risen.push_back(now);
  }
  for (const quotas::CounterBase& base : bases) {
    const auto now = std::ranges::find(report.counters, base.name, &quotas::Counter::resource);
    if (now == report.counters.end()) continue;
    now->failcnt = std::max(now->failcnt, base.run_failures);
    if (quotas::is_total(base.name)) now->held = now->maxheld = std::max(now->held, base.run_held);
  }
  report.counters = quotas::merge(base_counters(bases), report.counters);
}

// The links of one that is newer than they are may be those of an earlier run, or of another container that
// had its number.
std::vector<quotas::Traffic> CounterReader::traffic_of(const State& state) const {
  const bool is_older = start_ns(state.init) + clock_tick_ns() < links_read_ns_;
  const auto links = is_older ? links_.of(state.number) : HostLinks(installation_.paths).of(state.number);
  return interface_traffic(installation_.paths, state.number, links, state.interfaces);
}

AccountReport keep_counters(const Paths& paths, const std::vector<CounterReport>& reports) {
  if (reports.empty()) return {};
  std::vector<std::string> names;
  for (const CounterReport& report : reports) names.push_back(report.name);
  AccountReport sampled = sample_accounts(paths, names, Durability::until_reboot);
  if (std::ranges::any_of(reports, [](const CounterReport& report) { return !report.risen.empty(); }))
    quotas::Ledger::open(paths.ledger(), Durability::until_reboot).write([&](quotas::LedgerWriter& writer) {
      for (const CounterReport& report : reports)
        if (!report.risen.empty()) writer.add_peaks(report.uuid, report.name, report.life, report.risen);
    });
  quotas::tidy_ledger(paths.ledger(), Durability::until_reboot);
  return sampled;
}

std::vector<quotas::CounterReading> counters_to_take_along(const Installation& installation,
                                                           const Observation& seen) {
  using std::chrono::milliseconds;
  const CounterReader reader(installation, {milliseconds(0), milliseconds(0)}, CounterSpan::life);
  const auto report = reader.read(seen);
  return report ? counter_readings(report->counters) : std::vector<quotas::CounterReading>();
}

void bring_counters(const Paths& paths, const std::string& uuid, const std::string& name,
                    const std::vector<quotas::CounterReading>& counters) {
  if (counters.empty()) return;
  quotas::Ledger::open(paths.ledger(), Durability::until_reboot).write([&](quotas::LedgerWriter& writer) {
    writer.bring_counters(uuid, name, counters);
  });
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
