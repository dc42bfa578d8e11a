#include "cli/counter_reports.h"

#include <fmt/core.h>

#include "base/error.h"
#include "cli/usage_output.h"

namespace holm::cli {
namespace {

void keep(const runtime::Paths& paths, const std::vector<runtime::CounterReport>& reports) {
  try {
    print_warnings(runtime::keep_counters(paths, reports));
  } catch (const Error& error) {
    print_warning("the ledger does not have this yet: " + error.message());
  }
}

}  // namespace

CounterReports read_reports(const Program& program, const runtime::Installation& installation,
                            const runtime::CounterReader& reader, const std::vector<std::string>& names,
                            IfStopped if_stopped) {
  const runtime::Paths& paths = installation.paths;
  if (!reader.problem().empty()) print_warning(reader.problem());
  CounterReports all;
  const auto read = [&](const std::string& name) {
    const runtime::Observation seen = runtime::observe(paths, reader.layout(), name);
    all.conditions[name] = seen.condition;
    auto report = reader.read(seen);
    if (report) {
      for (const std::string& warning : report->warnings)
        print_warning(fmt::format("container '{}': {}", name, warning));
      all.reports.push_back(std::move(*report));
    } else if (seen.has_init()) {
      print_warning(fmt::format("container '{}' is left out: it has just ended or just begins", name));
    } else if (if_stopped == IfStopped::error) {
      throw runtime::not_running(name);
    }
  };
  all.status = for_each_name(program, names, read);
  keep(paths, all.reports);
  return all;
}

}  // namespace holm::cli
