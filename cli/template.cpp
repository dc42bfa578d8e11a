// holm template: root file systems that containers are stacked on.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "base/unit.h"
#include "cli/command.h"
#include "cli/table.h"
#include "storage/busybox_template.h"
#include "storage/debian_template.h"
#include "storage/import_template.h"
#include "storage/template_store.h"

namespace holm::cli {
namespace {

using nlohmann::json;

struct TemplateOptions {
  std::string kind;
  std::string name;
  std::string source;
  std::vector<std::string> names;
  storage::DebianOptions debian;
  std::string include;
};

void show_progress(const std::string& line) { fmt::print(stderr, "{}\n", printable(line)); }

storage::TemplateStore open_store() {
  require_root();
  return storage::TemplateStore(runtime::paths_from_environment().templates());
}

json info_json(const storage::TemplateInfo& info) {
  return {{"name", info.name}, {"kind", info.kind},         {"source", info.source},  {"suite", info.suite},
          {"root", info.root}, {"packages", info.packages}, {"created", info.created}};
}

std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

void print_made(const Program& program, const storage::TemplateInfo& info) {
  print_output(program.globals.json ? dump(info_json(info))
                                    : fmt::format("template '{}' is ready\n", info.name));
}

int build(const Program& program, TemplateOptions& options) {
  storage::TemplateStore store = open_store();
  const std::string name = options.name.empty() ? options.kind : options.name;
  if (options.kind == "busybox") {
    print_made(program, storage::build_busybox(store, name));
    return 0;
  }
  if (options.kind != "debian")
    throw usage_error(fmt::format("there is no way to build '{}'", printable(options.kind)))
        .hint("there are: busybox, debian");
  options.debian.packages = split(options.include, ',');
  print_made(program, storage::build_debian(store, name, options.debian, show_progress));
  return 0;
}

int import(const Program& program, const TemplateOptions& options) {
  storage::TemplateStore store = open_store();
  storage::ImportOptions import_options;
  import_options.source = options.source;
  print_made(program, storage::import_template(store, options.name, import_options, show_progress));
  return 0;
}

int list(const Program& program) {
  json array = json::array();
  std::vector<std::vector<std::string>> rows;
  for (const auto& entry : open_store().list()) {
    json value = info_json(entry.info);
    if (!entry.damage.empty()) value["damage"] = entry.damage;
    array.push_back(std::move(value));
    rows.push_back({entry.info.name, entry.damage.empty() ? entry.info.kind : "damaged", entry.info.suite,
                    entry.info.created, entry.damage.empty() ? entry.info.source : entry.damage});
  }
  print_output(program.globals.json ? dump(array)
                                    : format_table({"NAME", "KIND", "SUITE", "CREATED", "SOURCE"}, rows));
  return 0;
}

int inspect(const Program& program, const TemplateOptions& options) {
  const auto details = open_store().inspect(options.name);
  const auto users = runtime::users_of_template(runtime::open_installation(), options.name);
  json value = info_json(details.info);
  value["disk_bytes"] = details.disk_bytes;
  value["files"] = details.files;
  value["directories"] = details.directories;
  value["used_by"] = users;
  if (program.globals.json) {
    print_output(dump(value));
    return 0;
  }
  std::string out;
  for (const auto& [key, entry] : value.items())
    out += fmt::format("{:<12} {}\n", key,
                       entry.is_string() ? printable(entry.get<std::string>()) : entry.dump());
  print_output(out);
  return 0;
}

int remove(const Program& program, const TemplateOptions& options) {
  storage::TemplateStore store = open_store();
  const auto installation = runtime::open_installation();
  return for_each_name(program, options.names, [&](const std::string& name) {
    store.remove(name, runtime::users_of_template(installation, name));
  });
}

}  // namespace

void add_template_verbs(CLI::App& app, Program& program) {
  auto options = std::make_shared<TemplateOptions>();
  CLI::App* group = app.add_subcommand("template", "build, import, list, inspect and remove templates");
  group->require_subcommand(1);
  const auto act = [&program](CLI::App* verb, std::function<int()> action) {
    verb->callback([&program, action = std::move(action)] { program.action = action; });
  };

  CLI::App* verb = group->add_subcommand("build", "make a template: busybox or debian");
  verb->add_option("kind", options->kind)->required()->option_text("busybox|debian");
  verb->add_option("--name", options->name, "its name (the kind)");
  verb->add_option("--suite", options->debian.suite, "debian: bookworm (default) or trixie");
  verb->add_option("--include", options->include, "debian: further packages, separated by commas");
  act(verb, [&program, options] { return build(program, *options); });

  verb = group->add_subcommand("import",
                               "make a template of a directory or a tar archive (- for standard input)");
  verb->add_option("name", options->name)->required()->option_text("NAME");
  verb->add_option("source", options->source)->required()->option_text("DIR|TAR|-");
  act(verb, [&program, options] { return import(program, *options); });

  verb = group->add_subcommand("list", "list templates");
  act(verb, [&program] { return list(program); });

  verb = group->add_subcommand("inspect", "show a template, its size and its users");
  verb->add_option("name", options->name)->required()->option_text("NAME");
  act(verb, [&program, options] { return inspect(program, *options); });

  verb = group->add_subcommand("remove", "remove templates that no container uses");
  verb->add_option("names", options->names)->required()->option_text("NAME...");
  act(verb, [&program, options] { return remove(program, *options); });
}

}  // namespace holm::cli
