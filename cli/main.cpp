// The command line: finds the verb, does it, and turns an Error into what a user reads.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/interruption.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/restore_source.h"
#include "cli/command.h"
#include "runtime/lifecycle.h"
#include "runtime/monitor.h"

namespace holm::cli {
namespace {

std::vector<std::string> verb_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(verb->get_name());
  return names;
}

// The verb that a misspelt one was probably meant to be.
std::string suggest_verb(const CLI::App& app, const std::string& word) {
  const std::vector<std::string> names = verb_names(app);
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  const auto meant = nearest(word, candidates);
  return meant ? fmt::format("did you mean 'holm {}'?", *meant) : "'holm --help' lists the verbs";
}

// The innermost verb that was recognized: "template build".
const CLI::App& chosen_verb(const CLI::App& app, std::string& words) {
  const auto chosen = app.get_subcommands();
  if (chosen.empty()) return app;
  words += (words.empty() ? "" : " ") + chosen.front()->get_name();
  return chosen_verb(*chosen.front(), words);
}

// CLI11's messages in the words of ours.
std::string describe_parse_error(const CLI::ParseError& failure, const CLI::App& verb) {
  std::string message = failure.what();
  const size_t colon = message.rfind(": ");
  if (dynamic_cast<const CLI::ExtrasError*>(&failure) && colon != std::string::npos)
    return fmt::format("unexpected argument '{}'", printable(message.substr(colon + 2)));
  if (dynamic_cast<const CLI::RequiredError*>(&failure)) {
    for (const CLI::Option* option : verb.get_options()) {
      if (option->get_required() && option->count() == 0)
        return fmt::format("'{}' is missing", option->get_option_text());
    }
    return "say which: " + join(verb_names(verb), ", ");
  }
  if (!message.empty()) message[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(message[0])));
  return printable(message);
}

int report_parse_error(const CLI::App& app, const CLI::ParseError& failure, int argc, char** argv) {
  if (failure.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success))
    return app.exit(failure);  // --help
  std::string words;
  const CLI::App& verb = chosen_verb(app, words);
  std::string message = describe_parse_error(failure, verb);
  std::string hint = words.empty() ? "'holm --help' lists the verbs and options"
                                   : fmt::format("'holm {} --help' tells what it takes", words);
  if (words.empty() && argc > 1 && argv[1][0] != '-') {
    message = fmt::format("there is no verb '{}'", printable(argv[1]));
    hint = suggest_verb(app, argv[1]);
  }
  if (argc == 1) message = "say what to do";
  Globals globals;
  globals.json = std::any_of(argv + 1, argv + argc, [](std::string_view word) { return word == "--json"; });
  print_error(usage_error(message).hint(hint), globals);
  return kExitUsage;
}

struct Family {
  void (*add)(CLI::App&, Program&);
  std::vector<std::string_view> verbs;
};

// Describing every verb takes longer than a small verb's own work: a known word gets its family alone. Any
// other one gets them all, for --help and for what may have been meant.
void add_verbs(CLI::App& app, Program& program, std::string_view word) {
  const std::vector<Family> families = {
      {add_life_verbs,
       {"create", "start", "run", "stop", "reboot", "kill", "pause", "resume", "destroy", "rename", "wait"}},
      {add_inside_verbs, {"exec", "shell", "console"}},
      {add_show_verbs, {"list", "inspect", "ps", "log"}},
      {add_resource_verbs,
       {"set", "mem-set", "mem-max", "vcpu-set", "vcpu-pin", "vcpu-list", "sched-credit"}},
      {add_checkpoint_verbs, {"save", "restore", "checkpoint", "clone"}},
      {add_counter_verbs, {"counters"}},
      {add_metric_verbs, {"metrics"}},
      {add_template_verbs, {"template"}},
      {add_config_verbs, {"config"}},
      {add_account_verbs, {"account", "usage"}},
      {add_host_verbs, {"info", "check", "gc", "version"}}};
  const auto knows = [&](const Family& family) {
    return std::ranges::find(family.verbs, word) != family.verbs.end();
  };
  const bool alone = std::ranges::any_of(families, knows);
  for (const Family& family : families) {
    if (!alone || knows(family)) family.add(app, program);
  }
}

// "" of an option is a variable of a script that nobody set: never "as if it had not been given".
void check_values(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options())
    if (!option->get_positional())
      for (const std::string& value : option->results())
        if (value.empty()) throw usage_error(fmt::format("'{}' has no value", option->get_name()));
  for (const CLI::App* chosen : app.get_subcommands()) check_values(*chosen);
}

int run(int argc, char** argv) {
  Program program;
  CLI::App app("Holm: many isolated Linux systems on one kernel", "holm");
  app.fallthrough();
  app.require_subcommand(1);
  app.add_flag("--json", program.globals.json, "print JSON, errors too");
  std::string state_directory, run_directory;
  app.add_option("--state-dir", state_directory,
                 "where containers and templates are kept (HOLM_STATE_DIR, /var/lib/holm)");
  app.add_option("--run-dir", run_directory,
                 "where the state of running containers is kept (HOLM_RUN_DIR, /run/holm)");
  add_verbs(app, program, argc > 1 ? argv[1] : "");
  // CLI11 would sort the words behind "--" among ours.
  std::vector<std::string> words(argv + 1, argv + argc);
  if (const auto dashes = std::find(words.begin(), words.end(), "--"); dashes != words.end()) {
    program.tail.emplace(dashes + 1, words.end());
    words.erase(dashes, words.end());
  }
  std::reverse(words.begin(), words.end());  // as CLI11 takes them
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& failure) {
    return report_parse_error(app, failure, argc, argv);
  }
  const std::string verb = app.get_subcommands().front()->get_name();
  if (program.tail && verb != "run" && verb != "exec") {
    print_error(usage_error(fmt::format("'holm {}' runs nothing: '--' has no meaning there", verb)),
                program.globals);
    return kExitUsage;
  }
  // Through the environment, so that monitors see the same trees.
  if (!state_directory.empty()) ::setenv("HOLM_STATE_DIR", state_directory.c_str(), 1);
  if (!run_directory.empty()) ::setenv("HOLM_RUN_DIR", run_directory.c_str(), 1);
  try {
    check_values(app);
    return program.action();
  } catch (const Error& error) {
    print_error(error, program.globals);
    return error.exit_status();
  } catch (const std::exception& failure) {
    print_error(Error(failure.what()).hint("this is a mistake in Holm; please report it"), program.globals);
    return kExitFailed;
  }
}

}  // namespace

std::vector<std::string> payload_command(const CLI::App& verb, const Program& program) {
  std::vector<std::string> command = verb.remaining();
  if (!program.tail) return command;
  // "exec web grep -- x": the dashes are the payload's.
  if (!command.empty()) command.emplace_back("--");
  command.insert(command.end(), program.tail->begin(), program.tail->end());
  return command;
}

void require_root() {
  if (::geteuid() == 0) return;
  throw Error("this needs root: containers are made of namespaces, cgroups and mounts of the host")
      .hint("use sudo");
}

std::optional<runtime::ConfigFile> load_if_file(const runtime::Installation& installation,
                                                const std::string& argument) {
  const bool is_file = argument.find('/') != std::string::npos || argument.ends_with(".toml");
  if (!is_file) return std::nullopt;
  return runtime::load_config(argument, installation.facts);
}

int for_each_name(const Program& program, const std::vector<std::string>& names,
                  const std::function<void(const std::string&)>& body) {
  int status = 0;
  for (const std::string& name : names) {
    try {
      body(name);
    } catch (const Error& error) {
      print_error(error, program.globals);
      if (status == 0) status = error.exit_status();
      if (Interruption::has_come()) break;
    }
  }
  return status;
}

void print_error(const Error& error, const Globals& globals) {
  if (!globals.json) {
    fmt::print(stderr, "holm: {}\n", error.report());
    return;
  }
  const nlohmann::json object = {{"error", error.message()}, {"at", error.places()},
                                 {"step", error.step()},     {"hints", error.hints()},
                                 {"also", error.also()},     {"exit_status", error.exit_status()}};
  fmt::print(stderr, "{}\n", object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void print_warning(const std::string& text) { fmt::print(stderr, "holm: warning: {}\n", text); }

void print_output(const std::string& text) { sys::write_all(STDOUT_FILENO, text, "standard output"); }

std::chrono::milliseconds parse_time(const std::string& text, const char* option) {
  const auto time = parse_duration(text);
  if (!time)
    throw usage_error(fmt::format("'{}' of '{}' is no time", printable(text), option))
        .hint("for example 10, 500ms, 2m");
  return *time;
}

std::map<std::string, std::string> parse_environment(const std::vector<std::string>& words) {
  std::map<std::string, std::string> environment;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == 0 || equals == std::string::npos)
      throw usage_error(fmt::format("'{}' is not NAME=VALUE", printable(word)));
    environment[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return environment;
}

}  // namespace holm::cli

int main(int argc, char** argv) {
  // Descriptors 0, 1, 2 that are closed would be taken by the first files that we open.
  for (int fd = 0; fd < 3; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) != fd) return holm::kExitFailed;
  }
  if (argc > 2 && std::string_view(argv[1]) == holm::runtime::kMonitorVerb) {
    const std::vector<std::string> arguments(argv, argv + argc);
    const auto options = holm::runtime::parse_monitor_arguments(arguments);
    if (options.checkpoint.empty()) return holm::runtime::run_monitor(options);
    return holm::runtime::run_monitor(
        options, holm::checkpoint::RestoreSource{options.checkpoint, options.upper, options.new_identity,
                                                 options.paused});
  }
  return holm::cli::run(argc, argv);
}
