// The verb for monitoring systems.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "cli/command.h"
#include "cli/counter_reports.h"
#include "runtime/metrics.h"

namespace holm::cli {
namespace {

struct MetricOptions {
  std::vector<std::string> names;
  std::string textfile;
  std::string disk = "0";
  bool all = false;
};

// A series must not be there twice.
std::vector<std::string> chosen_containers(const runtime::Paths& paths,
                                           const std::vector<std::string>& names) {
  if (names.empty()) return runtime::container_names(paths);
  for (const std::string& name : names) runtime::require_container(paths, name);
  const std::set<std::string> chosen(names.begin(), names.end());
  return {chosen.begin(), chosen.end()};
}

// node_exporter reads what ends so, and nothing else.
void check_textfile(const std::string& file) {
  if (file.empty() || file.ends_with(".prom")) return;
  throw usage_error(fmt::format("'{}' does not end in '.prom'", file))
      .hint("node_exporter reads no other files; for standard output leave '--textfile' away");
}

int metrics(const Program& program, const MetricOptions& options) {
  if (program.globals.json)
    throw usage_error("'holm metrics' has a format of its own, and no '--json'")
        .hint("'holm --json counters' has the same numbers");
  check_textfile(options.textfile);
  runtime::CounterPatience patience;
  patience.disk = parse_time(options.disk, "--disk");
  if (!options.all) patience.processes = std::chrono::milliseconds(0);
  require_root();
  const auto installation = runtime::open_installation();
  const runtime::CounterReader reader(installation, patience, runtime::CounterSpan::life);
  const auto names = chosen_containers(installation.paths, options.names);
  const CounterReports read = read_reports(program, installation, reader, names, IfStopped::skip);
  const auto families = runtime::make_metrics(read.conditions, read.reports);
  if (options.textfile.empty())
    print_output(quotas::format_metrics(families, quotas::Exposition::openmetrics));
  else
    replace_file(options.textfile, quotas::format_metrics(families, quotas::Exposition::prometheus), 0644);
  return read.status;
}

}  // namespace

void add_metric_verbs(CLI::App& app, Program& program) {
  auto options = std::make_shared<MetricOptions>();
  CLI::App* verb = app.add_subcommand("metrics", "print what containers use, for Prometheus (OpenMetrics)");
  verb->add_option("names", options->names)->option_text("NAME...");
  verb->add_flag("-a,--all", options->all,
                 "also what needs a look at each process: open files, sockets, ...");
  verb->add_option("--textfile", options->textfile, "into a file for node_exporter, in Prometheus' format")
      ->option_text("FILE.prom");
  verb->add_option("--disk", options->disk, "time that counting files may take; without it they are left out")
      ->option_text("TIME");
  verb->callback(
      [&program, options] { program.action = [&program, options] { return metrics(program, *options); }; });
}

}  // namespace holm::cli
