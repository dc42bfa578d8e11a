// holm config: looking at config files.
#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "cli/command.h"
#include "runtime/config_show.h"

namespace holm::cli {
namespace {

struct ConfigOptions {
  std::string file;
  std::string name;
  bool defaults = false;
};

// A spec as people write it, or as JSON.
int print_spec(const Program& program, const runtime::ContainerSpec& spec) {
  print_output(program.globals.json ? runtime::to_json(spec) + "\n" : runtime::show_spec(spec));
  return 0;
}

int check(const Program& program, const ConfigOptions& options) {
  const auto installation = runtime::open_installation();
  const auto config = runtime::load_config(options.file, installation.facts);
  if (program.globals.json) return print_spec(program, config.spec);
  print_output(fmt::format("{}: container '{}' is well configured\n", options.file, config.spec.name));
  return 0;
}

int show(const Program& program, const ConfigOptions& options) {
  if (options.defaults) {
    print_output(runtime::show_defaults());
    return 0;
  }
  if (options.name.empty())
    throw usage_error("say which container").hint("'holm config show NAME', or --defaults for every key");
  const auto installation = runtime::open_installation();
  if (const auto config = load_if_file(installation, options.name)) return print_spec(program, config->spec);
  require_root();
  return print_spec(program, runtime::load_container(installation, options.name).config.spec);
}

}  // namespace

void add_config_verbs(CLI::App& app, Program& program) {
  auto options = std::make_shared<ConfigOptions>();
  CLI::App* group = app.add_subcommand("config", "check and show configurations");
  group->require_subcommand(1);
  CLI::App* verb = group->add_subcommand("check", "check a config file; nothing is made");
  verb->add_option("file", options->file)->required()->option_text("FILE");
  verb->callback(
      [&program, options] { program.action = [&program, options] { return check(program, *options); }; });
  verb = group->add_subcommand("show", "show the effective configuration, or every key with its default");
  verb->add_option("name", options->name)->option_text("NAME|FILE");
  verb->add_flag("--defaults", options->defaults, "every key with its default and meaning");
  verb->callback(
      [&program, options] { program.action = [&program, options] { return show(program, *options); }; });
}

}  // namespace holm::cli
