// The verb that shows what containers hold, held at most, may hold, and were refused.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/text.h"
#include "base/unit.h"
#include "cli/command.h"
#include "cli/usage_output.h"
#include "quotas/beancounters.h"
#include "runtime/counters.h"
#include "runtime/observe.h"

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

milliseconds parse_time(const std::string& text, const char* option) {
  const auto time = parse_duration(text);
  if (!time)
    throw usage_error(fmt::format("'{}' of '{}' is no time", printable(text), option))
        .hint("for example 10, 500ms, 2m");
  return *time;
}

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

// The containers to be shown: those that are named, which there must be, or all.
std::vector<std::string> chosen_names(const runtime::Paths& paths, const CounterOptions& options) {
  for (const std::string& name : options.names) runtime::require_container(paths, name);
  return options.names.empty() ? runtime::container_names(paths) : options.names;
}

// One look at all of them.
class Look {
 public:
  Look(const Program& program, const CounterOptions& options, const Wish& wish)
      : program_(program), options_(options), wish_(wish) {}

  // 0, or the exit status of the first that could not be shown.
  int take() {
    const auto installation = runtime::open_installation();
    const auto layout = quotas::detect_cgroup_layout();
    const int status =
        for_each_name(program_, chosen_names(installation.paths, options_), [&](const std::string& name) {
          const bool was_running = runtime::observe(installation.paths, layout, name).has_init();
          auto report = was_running
                            ? runtime::read_counters(installation, layout, name, wish_.patience, wish_.span())
                            : std::optional<runtime::CounterReport>();
          if (report) {
            add(installation.paths, *report);
          } else if (was_running) {
            print_warning(fmt::format("container '{}' is left out: it has just ended or just begins", name));
          } else if (!options_.names.empty()) {
            throw runtime::not_running(name);
          }
        });
    sample(installation.paths);
    return status;
  }

  bool is_empty() const { return containers_.empty(); }
  std::string text() const {
    return program_.globals.json ? json_.dump(2, ' ', false, json::error_handler_t::replace) + "\n"
                                 : quotas::format_beancounters(containers_);
  }

 private:
  // What has been shown is not taken back, even where nobody sees the container's end.
  void sample(const runtime::Paths& paths) const {
    std::vector<std::string> names;
    for (const json& container : json_) names.push_back(container["name"]);
    if (names.empty()) return;
    try {
      print_warnings(runtime::sample_accounts(paths, names, Durability::until_reboot));
    } catch (const Error& error) {
      print_warning("the ledger does not have this yet: " + error.message());
    }
  }

  void add(const runtime::Paths& paths, runtime::CounterReport& report) {
    for (const std::string& warning : report.warnings)
      print_warning(fmt::format("container '{}': {}", report.name, warning));
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
