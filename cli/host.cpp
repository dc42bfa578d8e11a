// Verbs about the host and the installation.
#include <fmt/format.h>
#include <sys/utsname.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/preflight.h"
#include "checkpoint/save.h"
#include "cli/command.h"
#include "runtime/host_check.h"
#include "runtime/lifecycle.h"
#include "storage/template_store.h"

namespace holm::cli {
namespace {

using nlohmann::json;

constexpr const char* kVersion = HOLM_VERSION;

std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

int info(const Program& program) {
  require_root();
  const auto installation = runtime::open_installation();
  const auto layout = quotas::detect_cgroup_layout();
  struct utsname host = {};
  ::uname(&host);
  size_t running = 0;
  const auto all = runtime::observe_all(installation.paths, layout);
  for (const auto& seen : all) running += seen.has_init() ? 1 : 0;
  const json value = {{"version", kVersion},
                      {"kernel", host.release},
                      {"machine", host.machine},
                      {"cpus", installation.facts.online_cpus.size()},
                      {"cgroups", quotas::describe_layout(layout, installation.paths.cgroup_parent())},
                      {"containers", all.size()},
                      {"running", running},
                      {"templates", storage::TemplateStore(installation.paths.templates()).list().size()},
                      {"state_directory", installation.paths.state},
                      {"run_directory", installation.paths.run},
                      {"host_config", installation.paths.host_config}};
  if (program.globals.json) {
    print_output(dump(value));
    return 0;
  }
  for (const auto& [key, entry] : value.items())
    print_output(
        fmt::format("{:<16} {}\n", key, entry.is_string() ? entry.get<std::string>() : entry.dump()));
  return 0;
}

int check(const Program& program) {
  require_root();
  const auto findings = runtime::check_host(runtime::open_installation());
  json array = json::array();
  bool can_start = true;
  for (const auto& finding : findings) {
    can_start = can_start && finding.verdict != runtime::Verdict::missing;
    array.push_back({{"what", finding.what},
                     {"verdict", runtime::verdict_name(finding.verdict)},
                     {"detail", finding.detail},
                     {"cure", finding.cure}});
    if (program.globals.json) continue;
    print_output(fmt::format("{:<8} {}{}{}\n", runtime::verdict_name(finding.verdict), finding.what,
                             finding.detail.empty() ? "" : ": ", finding.detail));
    if (!finding.cure.empty()) print_output(fmt::format("         cure: {}\n", finding.cure));
  }
  if (program.globals.json) print_output(dump(array));
  return can_start ? 0 : kExitFailed;
}

json to_json(const std::vector<checkpoint::Obstacle>& all) {
  json array = json::array();
  for (const auto& found : all)
    array.push_back({{"pid", found.pid},
                     {"program", found.program},
                     {"object", found.object},
                     {"why", found.why},
                     {"cure", found.cure}});
  return array;
}

// Whether a container can be saved as it is now.
int check_container(const Program& program, const std::string& name) {
  require_root();
  const auto report = checkpoint::check_savable(runtime::open_installation(), name);
  if (program.globals.json) {
    print_output(dump({{"obstacles", to_json(report.obstacles)},
                       {"warnings", to_json(report.warnings)},
                       {"delays", to_json(report.delays)},
                       {"complete", report.is_complete}}));
    return report.obstacles.empty() ? 0 : kExitFailed;
  }
  const auto print = [](const char* verdict, const std::vector<checkpoint::Obstacle>& all) {
    for (const auto& found : all) {
      print_output(fmt::format("{:<8} {}\n", verdict, checkpoint::describe(found)));
      if (!found.cure.empty()) print_output(fmt::format("         cure: {}\n", found.cure));
    }
  };
  print("refused", report.obstacles);
  print("lost", report.warnings);
  print("waits", report.delays);
  if (!report.is_complete) print_output("limited  there was more to look at than time for it\n");
  if (report.obstacles.empty()) print_output(fmt::format("ok       container '{}' can be saved\n", name));
  return report.obstacles.empty() ? 0 : kExitFailed;
}

int collect(const Program& program) {
  require_root();
  const auto report = runtime::collect_garbage(runtime::open_installation());
  if (program.globals.json) {
    print_output(dump({{"removed", report.removed}, {"problems", report.problems}}));
  } else {
    for (const std::string& line : report.removed) print_output("removed " + line + "\n");
    for (const std::string& line : report.problems) print_warning(line);
  }
  return report.problems.empty() ? 0 : kExitFailed;
}

}  // namespace

void add_host_verbs(CLI::App& app, Program& program) {
  const auto add = [&](const char* name, const char* what, int (*action)(const Program&)) {
    app.add_subcommand(name, what)->callback([&program, action] {
      program.action = [&program, action] { return action(program); };
    });
  };
  add("info", "show the host, as Holm sees it", info);
  const auto name = std::make_shared<std::string>();
  CLI::App* const verb =
      app.add_subcommand("check", "what this host can and cannot do, or why a container cannot be saved");
  verb->add_option("name", *name)->option_text("NAME");
  verb->callback([&program, name] {
    program.action = [&program, name] {
      return name->empty() ? check(program) : check_container(program, *name);
    };
  });
  add("gc", "remove what killed commands left behind", collect);
  app.set_version_flag("--version", fmt::format("holm {}", kVersion), "show Holm's version");
  add("version", "show Holm's version", [](const Program& chosen) {
    print_output(chosen.globals.json ? dump({{"version", kVersion}}) : fmt::format("holm {}\n", kVersion));
    return 0;
  });
}

}  // namespace holm::cli
