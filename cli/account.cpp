// Verbs about usage: what containers have used, kept by the hour, for whoever bills or plans by it.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <ctime>
#include <map>
#include <thread>

#include "base/error.h"
#include "base/text.h"
#include "base/unit.h"
#include "cli/command.h"
#include "cli/table.h"
#include "cli/usage_output.h"
#include "runtime/account.h"
#include "runtime/lifecycle.h"
#include "runtime/observe.h"
#include "runtime/settle.h"

namespace holm::cli {
namespace {

using quotas::Span;
using std::chrono::milliseconds;

struct AccountOptions {
  std::vector<std::string> names;
  std::string every;
  std::string since;
  std::string until;
  std::string by;
  bool csv = false;
};

// --- account sample

// Also the moment at which a container that lost its monitor gets a new one: whoever ends without a monitor
// takes what its links counted along.
void adopt(const Program& program, const runtime::Installation& installation,
           const std::vector<std::string>& orphans) {
  for (const std::string& name : orphans) {
    try {
      runtime::adopt_if_orphaned(installation, name);
    } catch (const Error& error) {
      if (runtime::container_exists(installation.paths, name)) print_error(error, program.globals);
    }
  }
}

// 1 where anything was not as it should be, so that a timer's unit shows it.
int sample_once(const Program& program, const runtime::Installation& installation,
                const std::vector<std::string>& names) {
  const auto report = names.empty() ? runtime::sample_all_accounts(installation)
                                    : runtime::sample_accounts(installation.paths, names);
  print_warnings(report);
  adopt(program, installation, report.orphans);
  return report.notes.empty() && report.warnings.empty() ? 0 : kExitFailed;
}

[[noreturn]] void sample_every(const Program& program, const runtime::Installation& installation,
                               const AccountOptions& options, milliseconds interval) {
  for (auto next = std::chrono::steady_clock::now();; next += interval) {
    std::this_thread::sleep_until(next);
    try {
      sample_once(program, installation, options.names);
    } catch (const Error& error) {
      print_error(error, program.globals);  // the next sample counts what this one could not
    }
    next = std::max(next, std::chrono::steady_clock::now() - interval);
  }
}

int sample(const Program& program, const AccountOptions& options) {
  require_root();
  const auto installation = runtime::open_installation();
  for (const std::string& name : options.names) runtime::require_container(installation.paths, name);
  if (options.every.empty()) return sample_once(program, installation, options.names);
  const milliseconds interval = parse_time(options.every, "--every");
  if (interval < std::chrono::seconds(1))
    throw usage_error("'--every' is less than 1s").hint("for example 10s, 5m, 1h");
  sample_every(program, installation, options, interval);
}

// --- usage

int64_t parse_when(const std::string& text, const char* option, int64_t now) {
  const auto moment = quotas::parse_moment(text, now);
  if (!moment)
    throw usage_error(fmt::format("'{}' of {} is no time", printable(text), option))
        .hint(fmt::format("it may be {}", quotas::kMomentForms));
  return *moment;
}

std::optional<Span> parse_by(const std::string& text) {
  if (text.empty()) return std::nullopt;
  for (const Span span : {Span::hour, Span::day, Span::month})
    if (text == quotas::span_name(span)) return span;
  throw usage_error(fmt::format("'{}' of --by is no period", printable(text))).hint("hour, day or month");
}

std::vector<std::string> uuids_of(const quotas::Ledger& ledger, const std::vector<std::string>& names) {
  const auto known = ledger.containers();
  std::vector<std::string> uuids;
  for (const std::string& name : names) {
    const size_t before = uuids.size();
    for (const auto& container : known)
      if (container.name == name || container.uuid == name) uuids.push_back(container.uuid);
    if (uuids.size() > before) continue;
    std::vector<std::string_view> candidates;
    for (const auto& container : known) candidates.push_back(container.name);
    const auto meant = nearest(name, candidates);
    throw Error(fmt::format("no usage of a container '{}' is known", printable(name)))
        .hint(meant ? fmt::format("did you mean '{}'?", *meant) : "'holm usage' lists all");
  }
  return uuids;
}

// What each container is now, by uuid; those that are not in it are gone.
std::map<std::string, std::string> conditions(const runtime::Installation& installation) {
  const auto layout = quotas::detect_cgroup_layout();
  std::map<std::string, std::string> found;
  for (const std::string& name : runtime::container_names(installation.paths)) {
    ignore_errors([&] {  // destroyed in this moment, or damaged: `list` tells that
      found[runtime::load_identity(installation.paths, name).uuid] =
          runtime::condition_name(runtime::observe(installation.paths, layout, name).condition);
    });
  }
  return found;
}

void warn_of_doubts(const runtime::Paths& paths, const quotas::Ledger& ledger,
                    const quotas::UsageQuery& query) {
  for (const std::string& file : quotas::ledgers_set_aside(paths.ledger()))
    print_warning(fmt::format("usage before the ledger was damaged is in '{}', not here", file));
  for (const int64_t moment : {query.since, query.until}) {
    const auto row = moment == INT64_MAX ? std::nullopt : ledger.straddling(moment);
    if (row)
      print_warning(
          fmt::format("usage around {} is kept by the {} only: {} counts as a whole to where it begins",
                      quotas::format_moment(moment), quotas::span_name(*row->span),
                      quotas::format_period(*row->span, row->begin)));
  }
}

int usage(const Program& program, const AccountOptions& options) {
  require_root();
  if (options.csv && program.globals.json) throw usage_error("'--csv' and '--json' exclude each other");
  const auto installation = runtime::open_installation();
  const int64_t now = std::time(nullptr);
  quotas::UsageQuery query;
  query.by = parse_by(options.by);
  // Nothing is kept more finely than by the hour.
  if (!options.since.empty())
    query.since = quotas::begin_of(Span::hour, parse_when(options.since, "--since", now));
  if (!options.until.empty()) {
    const int64_t until = parse_when(options.until, "--until", now);
    query.until = until == quotas::begin_of(Span::hour, until) ? until : quotas::end_of(Span::hour, until);
  }
  if (query.until <= query.since) throw usage_error("'--until' is not after '--since'");
  std::vector<UsageLine> lines;
  if (const auto ledger = quotas::Ledger::open_to_read(installation.paths.ledger())) {
    query.uuids = uuids_of(*ledger, options.names);
    const auto states = conditions(installation);
    for (quotas::UsageRow& row : ledger->usage(query)) {
      const auto state = states.find(row.uuid);
      lines.push_back({std::move(row), state == states.end() ? "destroyed" : state->second});
    }
    warn_of_doubts(installation.paths, *ledger, query);
  }
  print_output(options.csv            ? usage_csv(lines)
               : program.globals.json ? usage_json(lines)
                                      : usage_table(lines, query.by.has_value()));
  return 0;
}

}  // namespace

void add_account_verbs(CLI::App& app, Program& program) {
  auto options = std::make_shared<AccountOptions>();
  CLI::App* group = app.add_subcommand("account", "bring the ledger of usage up to date");
  group->require_subcommand(1);
  CLI::App* verb = group->add_subcommand("sample", "count what containers used since their last sample");
  verb->add_option("names", options->names)->option_text("NAME...");
  verb->add_option("--every", options->every, "go on, and sample again after each such time (5m)");
  verb->callback(
      [&program, options] { program.action = [&program, options] { return sample(program, *options); }; });

  verb = app.add_subcommand("usage", "show what containers have used, destroyed ones, too");
  verb->add_option("names", options->names)->option_text("NAME...");
  verb->add_option("--since", options->since, "only what was used from this time on");
  verb->add_option("--until", options->until, "only what was used before this time");
  verb->add_option("--by", options->by, "a row for each hour, day or month");
  verb->add_flag("--csv", options->csv, "print comma-separated values");
  verb->footer(fmt::format("A time is {}.", quotas::kMomentForms));
  verb->callback(
      [&program, options] { program.action = [&program, options] { return usage(program, *options); }; });
}

}  // namespace holm::cli
