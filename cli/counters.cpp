// The verb that shows what containers hold, held at most, may hold, and were refused.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/counter_reports.h"
#include "quotas/beancounters.h"
#include "runtime/counters.h"

namespace holm::cli {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

struct CounterOptions {
  std::vector<std::string> names;
  bool quiet = false;
  bool watch = false;
  std::string interval = "2s";
  std::string since;
  std::string disk = "2s";
};

enum class Since { creation, start, last };

Since parse_since(const std::string& word) {
  if (word.empty()) return Since::creation;
  if (word == "start") return Since::start;
  if (word == "last") return Since::last;
  throw usage_error(fmt::format("'--since' takes no '{}'", printable(word)))
      .hint("'start': this run's; 'last': since the last 'holm counters --since last'");
}

// The options, checked before anything is looked at.
struct Wish {
  explicit Wish(const CounterOptions& options)
      : since(parse_since(options.since)), interval(parse_time(options.interval, "--interval")) {
    patience.disk = parse_time(options.disk, "--disk");
    if (interval.count() == 0) throw usage_error("'--interval' is 0").hint("for example 2s, 500ms");
  }
  runtime::CounterSpan span() const {
    return since == Since::start ? runtime::CounterSpan::run : runtime::CounterSpan::life;
  }
  Since since;
  milliseconds interval;
  runtime::CounterPatience patience;
};

// What `--since last` shows; the report is kept for the next time.
quotas::Counters since_last(const runtime::Paths& paths, const runtime::CounterReport& report) {
  const auto last = runtime::load_last_counters(paths, report.name);
  runtime::keep_last_counters(paths, report);
  if (last) return quotas::difference(*last, report.counters);
  print_warning(fmt::format("container '{}': nothing was kept by an earlier '--since last': all is shown",
                            report.name));
  return report.counters;
}

json counter_json(const quotas::Counter& counter) {
  const auto bound = [](uint64_t value) { return value == quotas::kUnlimited ? json(nullptr) : json(value); };
  return {{"resource", counter.resource},
          {"unit", quotas::unit_of(counter.resource)},
          {"held", counter.held},
          {"maxheld", counter.maxheld},
          {"barrier", bound(counter.barrier)},
          {"limit", bound(counter.limit)},
          {"failcnt", counter.failcnt}};
}

// One look at all of them.
class Look {
 public:
  Look(const Program& program, const CounterOptions& options, const Wish& wish)
      : program_(program), options_(options), wish_(wish) {}

  // 0, or the exit status of the first that could not be shown.
  int take() {
    const auto installation = runtime::open_installation();
    const runtime::CounterReader reader(installation, wish_.patience, wish_.span());
    for (const std::string& name : options_.names) runtime::require_container(installation.paths, name);
    CounterReports read =
        options_.names.empty()
            ? read_reports(program_, installation, reader, runtime::container_names(installation.paths),
                           IfStopped::skip)
            : read_reports(program_, installation, reader, options_.names, IfStopped::error);
    for (runtime::CounterReport& report : read.reports) add(installation.paths, report);
    return read.status;
  }

  bool is_empty() const { return containers_.empty(); }
  std::string text() const {
    return program_.globals.json ? json_.dump(2, ' ', false, json::error_handler_t::replace) + "\n"
                                 : quotas::format_beancounters(containers_);
  }

 private:
  void add(const runtime::Paths& paths, runtime::CounterReport& report) {
    if (wish_.since == Since::last) report.counters = since_last(paths, report);
    if (options_.quiet)
      std::erase_if(report.counters, [](const auto& counter) { return !quotas::is_notable(counter); });
    json counters = json::array();
    for (const quotas::Counter& counter : report.counters) counters.push_back(counter_json(counter));
    json_.push_back({{"name", report.name}, {"number", report.number}, {"counters", counters}});
    containers_.push_back({report.number, std::move(report.counters)});
  }

  const Program& program_;
  const CounterOptions& options_;
  const Wish& wish_;
  std::vector<quotas::ContainerCounters> containers_;
  json json_ = json::array();
};

int counters(const Program& program, const CounterOptions& options) {
  const Wish wish(options);
  require_root();
  for (;;) {
    Look look(program, options, wish);
    const int status = look.take();
    const bool is_screen = options.watch && !program.globals.json && ::isatty(STDOUT_FILENO);
    if (look.is_empty() && status != 0) return status;
    print_output((is_screen ? "\x1b[H\x1b[2J" : "") + look.text());
    if (!options.watch) return status;
    std::this_thread::sleep_for(wish.interval);
  }
}

}  // namespace

void add_counter_verbs(CLI::App& app, Program& program) {
  auto options = std::make_shared<CounterOptions>();
  CLI::App* verb = app.add_subcommand(
      "counters", "show what containers hold, held at most, may hold and were refused, as OpenVZ did");
  verb->add_option("names", options->names)->option_text("NAME...");
  verb->add_flag("-q,--quiet", options->quiet, "only what is near its limit or was refused");
  verb->add_flag("-w,--watch", options->watch, "again and again");
  verb->add_option("-i,--interval", options->interval, "time between two looks (2s)")->option_text("TIME");
  verb->add_option("--since", options->since, "totals and refusals since then only: start or last")
      ->option_text("WHEN");
  verb->add_option("--disk", options->disk, "time that counting files may take (2s); 0: leave them out")
      ->option_text("TIME");
  verb->callback(
      [&program, options] { program.action = [&program, options] { return counters(program, *options); }; });
}

}  // namespace holm::cli
