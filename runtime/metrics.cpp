#include "runtime/metrics.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace holm::runtime {
namespace {

using quotas::Counter;
using quotas::Fact;
using quotas::Facts;
using quotas::MetricFamily;
using quotas::MetricType;

constexpr uint64_t kPeriod = 100'000;  // microseconds: cAdvisor shows quota and period, Holm sets a part

std::string in_unit(std::string_view resource, uint64_t value) {
  const std::string_view unit = quotas::unit_of(resource);
  if (unit == "ns") return quotas::format_seconds(value);
  static const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  if (unit == "pages") return fmt::format("{}", value * page);
  return fmt::format("{}", value);
}

// --- from counters: they are of the container's whole life, so that they only fall when it is destroyed

// cAdvisor's name for a column of a counter.
struct CounterMetric {
  const char* name;
  MetricType type;
  const char* resource;  // of the table; before the '.' where there is one for each interface
  uint64_t Counter::*column;
  const char* help;
};
constexpr std::array<CounterMetric, 18> kCounterMetrics = {{
    {"container_cpu_usage_seconds_total", MetricType::counter, "cputime", &Counter::held,
     "CPU time that was used."},
    {"container_cpu_cfs_throttled_seconds_total", MetricType::counter, "throttledtime", &Counter::held,
     "Time for which cpu.cap stopped threads that wanted to run."},
    {"container_memory_usage_bytes", MetricType::gauge, "physpages", &Counter::held,
     "Memory that is held, page cache included."},
    {"container_memory_max_usage_bytes", MetricType::gauge, "physpages", &Counter::maxheld,
     "The most memory that was ever held."},
    {"container_memory_failcnt", MetricType::unknown, "physpages", &Counter::failcnt,
     "How often memory was refused; what was reclaimed in time does not count."},
    {"container_memory_kernel_usage", MetricType::gauge, "kmemsize", &Counter::held,
     "Bytes of kernel memory."},
    {"container_memory_swap", MetricType::gauge, "swappages", &Counter::held, "Bytes that are swapped out."},
    {"container_oom_events_total", MetricType::counter, "oomkills", &Counter::held,
     "Processes that the kernel killed for want of memory."},
    {"container_threads", MetricType::gauge, "numproc", &Counter::held, "Threads of all processes."},
    {"container_fs_reads_bytes_total", MetricType::counter, "diskread", &Counter::held,
     "Bytes read from disks."},
    {"container_fs_writes_bytes_total", MetricType::counter, "diskwrite", &Counter::held,
     "Bytes written to disks."},
    {"container_fs_reads_total", MetricType::counter, "diskreadops", &Counter::held, "Reads from disks."},
    {"container_fs_writes_total", MetricType::counter, "diskwriteops", &Counter::held, "Writes to disks."},
    {"container_fs_usage_bytes", MetricType::gauge, "diskspace", &Counter::held,
     "Bytes of the container's own files."},
    {"container_network_receive_bytes_total", MetricType::counter, "netrx", &Counter::held,
     "Bytes received."},
    {"container_network_receive_packets_total", MetricType::counter, "netrxpackets", &Counter::held,
     "Packets received."},
    {"container_network_transmit_bytes_total", MetricType::counter, "nettx", &Counter::held, "Bytes sent."},
    {"container_network_transmit_packets_total", MetricType::counter, "nettxpackets", &Counter::held,
     "Packets sent."},
}};

// --- from what the kernel tells of this run

struct FactMetric {
  const char* name;
  MetricType type;
  // Nothing where the host does not tell.
  std::optional<uint64_t> (*value)(const Facts& facts);
  const char* help;
};
constexpr std::array<FactMetric, 10> kFactMetrics = {{
    {"container_memory_rss", MetricType::gauge, [](const Facts& facts) { return facts.anonymous_memory; },
     "Bytes of anonymous memory, without shared memory."},
    {"container_memory_cache", MetricType::gauge, [](const Facts& facts) { return facts.page_cache; },
     "Bytes of page cache, shared memory included."},
    {"container_memory_working_set_bytes", MetricType::gauge,
     [](const Facts& facts) -> Fact {
       if (!facts.memory || !facts.inactive_files) return std::nullopt;
       return *facts.memory - std::min(*facts.memory, *facts.inactive_files);
     },
     "Memory that is held, without page cache that has not been used lately."},
    {"container_spec_memory_limit_bytes", MetricType::gauge,
     [](const Facts& facts) { return Fact(facts.memory_limit.value_or(0)); }, "memory.limit; 0 is no limit."},
    {"container_threads_max", MetricType::gauge,
     [](const Facts& facts) { return Fact(facts.processes_limit.value_or(0)); },
     "pids.limit; 0 is no limit."},
    {"container_spec_cpu_shares", MetricType::gauge,
     [](const Facts& facts) -> Fact {
       if (!facts.cpu_weight) return std::nullopt;
       return *facts.cpu_weight * 4;
     },
     "cpu.weight on the kernel's older scale, on which 1024 is the default."},
    {"container_spec_cpu_period", MetricType::gauge,
     [](const Facts& facts) -> Fact {
       if (facts.cpu_cap_percent.value_or(0) == 0) return std::nullopt;
       return kPeriod;
     },
     "Microseconds of a period of cpu.cap; not there without a cap."},
    {"container_spec_cpu_quota", MetricType::gauge,
     [](const Facts& facts) -> Fact {
       if (facts.cpu_cap_percent.value_or(0) == 0) return std::nullopt;
       return *facts.cpu_cap_percent * kPeriod / 100;
     },
     "Microseconds of CPU time in each period that cpu.cap allows; not there without a cap."},
    {"container_cpu_cfs_periods_total", MetricType::counter,
     [](const Facts& facts) { return facts.cpu_periods; },
     "Periods of cpu.cap in which the container ran, since its last start."},
    {"container_cpu_cfs_throttled_periods_total", MetricType::counter,
     [](const Facts& facts) { return facts.cpu_periods_stopped; },
     "Periods in which cpu.cap stopped it, since its last start."},
}};

// --- OpenVZ's columns, of each resource that is known

struct ColumnMetric {
  const char* name;
  MetricType type;
  uint64_t Counter::*column;
  const char* help;
};
constexpr std::array<ColumnMetric, 5> kColumnMetrics = {{
    {"holm_beancounter_held", MetricType::gauge, &Counter::held,
     "Held now, in seconds, bytes or pieces; of a total the sum since the container was created."},
    {"holm_beancounter_maxheld", MetricType::gauge, &Counter::maxheld, "The most that was ever held."},
    {"holm_beancounter_barrier", MetricType::gauge, &Counter::barrier,
     "Above it the container is slowed down."},
    {"holm_beancounter_limit", MetricType::gauge, &Counter::limit, "More is refused."},
    {"holm_beancounter_failures_total", MetricType::counter, &Counter::failcnt,
     "How often more was refused since the container was created."},
}};

MetricFamily states(const std::map<std::string, Condition>& conditions) {
  MetricFamily family{"holm_container_state",
                      MetricType::gauge,
                      "1 for the state that the container is in: running, stopped, paused, ...",
                      {}};
  for (const auto& [name, condition] : conditions)
    family.samples.push_back({{{"name", name}, {"state", condition_name(condition)}}, "1"});
  return family;
}

MetricFamily of_counters(const CounterMetric& metric, const std::vector<CounterReport>& reports) {
  MetricFamily family{metric.name, metric.type, metric.help, {}};
  for (const CounterReport& report : reports)
    for (const Counter& counter : report.counters) {
      const std::string_view resource = counter.resource;
      const size_t dot = resource.find('.');
      if (resource.substr(0, dot) != metric.resource || !quotas::is_known(resource, report.facts)) continue;
      quotas::MetricSample sample;
      if (dot != std::string_view::npos) sample.labels.emplace_back("interface", resource.substr(dot + 1));
      sample.labels.emplace_back("name", report.name);
      sample.value = metric.column == &Counter::failcnt ? fmt::format("{}", counter.failcnt)
                                                        : in_unit(resource, counter.*metric.column);
      family.samples.push_back(std::move(sample));
    }
  return family;
}

MetricFamily of_facts(const FactMetric& metric, const std::vector<CounterReport>& reports) {
  MetricFamily family{metric.name, metric.type, metric.help, {}};
  for (const CounterReport& report : reports)
    if (const auto value = metric.value(report.facts))
      family.samples.push_back({{{"name", report.name}}, fmt::format("{}", *value)});
  return family;
}

MetricFamily of_column(const ColumnMetric& metric, const std::vector<CounterReport>& reports) {
  MetricFamily family{metric.name, metric.type, metric.help, {}};
  for (const CounterReport& report : reports)
    for (const Counter& counter : report.counters) {
      if (!quotas::is_known(counter.resource, report.facts)) continue;
      // Of a total nothing else can be told.
      const bool is_of_total = metric.column == &Counter::held || metric.column == &Counter::failcnt;
      if (quotas::is_total(counter.resource) && !is_of_total) continue;
      const uint64_t value = counter.*metric.column;
      std::string text = metric.column == &Counter::failcnt ? fmt::format("{}", value)
                         : value == quotas::kUnlimited      ? "+Inf"
                                                            : in_unit(counter.resource, value);
      family.samples.push_back({{{"name", report.name}, {"resource", counter.resource}}, std::move(text)});
    }
  return family;
}

MetricFamily of_reports(const char* name, const char* help, const std::vector<CounterReport>& reports,
                        int64_t (*value)(const CounterReport& report)) {
  MetricFamily family{name, MetricType::gauge, help, {}};
  for (const CounterReport& report : reports)
    family.samples.push_back({{{"name", report.name}}, fmt::format("{}", value(report))});
  return family;
}

}  // namespace

std::vector<MetricFamily> make_metrics(const std::map<std::string, Condition>& conditions,
                                       const std::vector<CounterReport>& reports) {
  std::vector<MetricFamily> families = {states(conditions)};
  families.push_back(of_reports("container_start_time_seconds", "When it was started, since the epoch.",
                                reports, [](const CounterReport& report) { return report.started_at; }));
  families.push_back(of_reports("holm_container_restarts", "Restarts since a person started it.", reports,
                                [](const CounterReport& report) { return int64_t{report.restarts}; }));
  for (const CounterMetric& metric : kCounterMetrics) families.push_back(of_counters(metric, reports));
  for (const FactMetric& metric : kFactMetrics) families.push_back(of_facts(metric, reports));
  for (const ColumnMetric& metric : kColumnMetrics) families.push_back(of_column(metric, reports));
  return families;
}

}  // namespace holm::runtime
