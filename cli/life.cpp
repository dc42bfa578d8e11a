// Verbs that change a container's life.
#include <fmt/core.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstring>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "base/unit.h"
#include "checkpoint/restore.h"
#include "checkpoint/save.h"
#include "checkpoint/store.h"
#include "cli/command.h"
#include "cli/inspect_checkpoint.h"
#include "runtime/lifecycle.h"
#include "runtime/relay.h"
#include "runtime/settle.h"

namespace holm::cli {
namespace {

using std::chrono::milliseconds;

struct LifeOptions {
  std::vector<std::string> names;
  std::string name;
  std::string new_name;
  std::string timeout;
  std::string signal = "TERM";
  std::vector<std::string> environment;
  bool remove = false;
  bool force = false;
  bool all = false;
  bool fresh = false;
  bool checkpoint = false;
  bool host_shutdown = false;
};

runtime::Installation open_as_root() {
  require_root();
  return runtime::open_installation();
}

void print_warnings(const runtime::State& state) {
  for (const std::string& warning : state.warnings)
    print_warning(fmt::format("container '{}': {}", state.name, warning));
}

int parse_signal(const std::string& text) {
  const std::string name = text.starts_with("SIG") ? text.substr(3) : text;
  if (const auto number = parse_unsigned(name); number && *number >= 1 && *number < NSIG)
    return static_cast<int>(*number);
  for (int signal = 1; signal < NSIG; ++signal) {
    const char* known = ::sigabbrev_np(signal);
    if (known && name == known) return signal;
  }
  throw usage_error(fmt::format("there is no signal '{}'", printable(text)))
      .hint("for example TERM, KILL, HUP, 9");
}

// Creates from a file what is not there.
runtime::NamedContainer resolve(const runtime::Installation& installation, const std::string& argument,
                                Durability durability = Durability::survives_crash) {
  const auto config = load_if_file(installation, argument);
  if (!config) return {argument};
  return runtime::create_from_file(installation, *config, durability);
}

int create(const Program& program, const LifeOptions& options) {
  const auto installation = open_as_root();
  return for_each_name(program, options.names, [&](const std::string& argument) {
    const auto config = load_if_file(installation, argument);
    if (!config)
      throw usage_error(fmt::format("'{}' is no config file", printable(argument)))
          .hint("a config file's name ends in .toml");
    const FileLock lock = runtime::lock_name(installation.paths, config->spec.name);
    runtime::create_container(installation, *config);
  });
}

// The containers with autostart = true, in their order; one whose config cannot be read is told and left out.
std::vector<std::string> autostart_names(const Program& program, const runtime::Installation& installation) {
  std::vector<std::pair<int, std::string>> ordered;
  for_each_name(program, runtime::container_names(installation.paths), [&](const std::string& name) {
    const auto spec = runtime::load_container(installation, name).config.spec;
    if (spec.autostart) ordered.emplace_back(spec.order, name);
  });
  std::sort(ordered.begin(), ordered.end());
  std::vector<std::string> names;
  for (auto& [order, name] : ordered) names.push_back(std::move(name));
  return names;
}

int start(const Program& program, const LifeOptions& options) {
  const auto installation = open_as_root();
  if (options.all == !options.names.empty())
    throw usage_error("say which containers").hint("names, files, or --autostart");
  const std::vector<std::string> names = options.all ? autostart_names(program, installation) : options.names;
  return for_each_name(program, names, [&](const std::string& argument) {
    const auto report =
        checkpoint::start_or_go_on(installation, resolve(installation, argument).name, options.fresh);
    for (const std::string& warning : report.warnings) print_warning(warning);
    print_warnings(report.state);
  });
}

int payload_status(runtime::Channel& report) {
  const auto message = report.receive();
  if (!message || message->message != runtime::Message::ended)
    throw Error("the container's monitor ended before the container did").exit_status(kExitHolmFailed);
  return static_cast<int>(parse_unsigned(message->text).value_or(kExitHolmFailed));
}

// A signal to the command ends the container: what runs in the foreground must not stay behind.
void stop_after_interrupt(const runtime::Installation& installation, const std::string& name) {
  ignore_errors([&] { runtime::stop(installation, name, {}); });  // it may have ended by itself meanwhile
}

int run_with_pipes(const runtime::Installation& installation, runtime::StartOptions options) {
  runtime::PayloadPipes pipes = runtime::make_payload_pipes();
  options.monitor.stdio = runtime::StdioMode::pipes;
  options.streams = std::move(pipes.payload);
  const std::string name = options.monitor.name;
  auto started = runtime::start(installation, std::move(options));
  runtime::RelaySignals signals;
  print_warnings(started.state);
  const auto end = runtime::relay_pipes(signals, pipes.ours, started.report.fd(), [](int) { return true; });
  if (end == runtime::RelayEnd::interrupted) stop_after_interrupt(installation, name);
  return payload_status(started.report);
}

int run_with_terminal(const runtime::Installation& installation, runtime::StartOptions options) {
  auto [ours, theirs] = sys::socket_pair(SOCK_SEQPACKET);
  runtime::tell_terminal_size(ours.get());
  options.streams.push_back(std::move(theirs));
  const std::string name = options.monitor.name;
  auto started = runtime::start(installation, std::move(options));
  runtime::RelaySignals signals;
  print_warnings(started.state);
  const auto end = runtime::relay_console(signals, ours.get());
  if (end == runtime::RelayEnd::detached) {
    fmt::print(stderr, "detached; 'holm console {}' comes back\n", name);
    return 0;
  }
  if (end == runtime::RelayEnd::interrupted) stop_after_interrupt(installation, name);
  return payload_status(started.report);
}

int run(const LifeOptions& options, const std::vector<std::string>& command) {
  const auto installation = open_as_root();
  const Durability durability = options.remove ? Durability::until_reboot : Durability::survives_crash;
  runtime::NamedContainer container;
  try {
    container = resolve(installation, options.name, durability);
    runtime::StartOptions start_options;
    start_options.monitor.name = container.name;
    start_options.monitor.foreground = true;
    start_options.monitor.remove_when_stopped = options.remove;
    start_options.monitor.command = command;
    const bool terminal = runtime::is_terminal(0) && runtime::is_terminal(1);
    return terminal ? run_with_terminal(installation, std::move(start_options))
                    : run_with_pipes(installation, std::move(start_options));
  } catch (Error& error) {
    if (options.remove && container.is_new) {  // it was only made for this run
      ignore_errors([&] { runtime::destroy(installation, container.name, false); });
    }
    if (error.exit_status() == kExitFailed) error.exit_status(kExitHolmFailed);
    throw;
  }
}

// Of all containers, those that do not run are passed over.
void stop_to_checkpoint(const runtime::Installation& installation, const std::string& name,
                        bool is_one_of_all) {
  const auto condition = runtime::look(installation, name).condition;
  if (is_one_of_all && condition == runtime::Condition::stopped) return;
  checkpoint::SaveOptions save;
  save.tag = runtime::kSuspendedTag;
  save.with_files = false;  // they stay where they are
  print_losses(name, checkpoint::save(installation, name, save).losses);
}

// False where it is to be stopped, or has to be.
bool save_for_host_shutdown(const runtime::Installation& installation, const std::string& name) {
  try {
    const auto spec = runtime::load_container(installation, name).config.spec;
    if (spec.on_host_shutdown != runtime::OnHostShutdown::checkpoint) return false;
    stop_to_checkpoint(installation, name, true);
    return true;
  } catch (const Error& error) {
    print_warning(fmt::format("container '{}' is stopped instead: {}", name, error.message()));
    return false;
  }
}

int stop(const Program& program, const LifeOptions& options, runtime::Intent intent) {
  const auto installation = open_as_root();
  runtime::StopOptions stop_options;
  if (!options.timeout.empty()) stop_options.timeout = parse_time(options.timeout, "--timeout");
  stop_options.intent = intent;
  stop_options.kill_at_once = options.force;
  const bool all = options.all || options.host_shutdown;
  if (all == !options.names.empty()) throw usage_error("say which containers").hint("names, or --all");
  const std::vector<std::string> names = all ? runtime::container_names(installation.paths) : options.names;
  if (options.checkpoint && (options.force || !options.timeout.empty()))
    throw usage_error(
        "'--checkpoint' asks init for nothing: '--kill' and '--timeout' have no meaning with it");
  return for_each_name(program, names, [&](const std::string& name) {
    if (options.checkpoint) return stop_to_checkpoint(installation, name, all);
    if (options.host_shutdown && save_for_host_shutdown(installation, name)) return;
    if (runtime::stop(installation, name, stop_options) == runtime::Stopped::was_not_running && !all)
      throw Error(fmt::format("container '{}' is not running", name))
          .hint("'holm list -a' shows all containers");
  });
}

template <class Act>
int act_on_each(const Program& program, const LifeOptions& options, Act&& act) {
  const auto installation = open_as_root();
  return for_each_name(program, options.names, [&](const std::string& name) { act(installation, name); });
}

int wait(const LifeOptions& options) {
  const auto installation = open_as_root();
  std::optional<milliseconds> timeout;
  if (!options.timeout.empty()) timeout = parse_time(options.timeout, "--timeout");
  const auto status = runtime::wait(installation, options.name, timeout);
  if (status) return *status;
  throw Error(fmt::format("container '{}' has not stopped within {}", options.name, options.timeout))
      .exit_status(kExitHolmFailed);
}

CLI::App* add_verb(CLI::App& app, const char* name, const char* what) {
  return app.add_subcommand(name, what);
}

void take_names(CLI::App* verb, LifeOptions& options, const char* label) {
  verb->add_option("names", options.names)->required()->option_text(label);
}

}  // namespace

void add_life_verbs(CLI::App& app, Program& program) {
  auto options = std::make_shared<LifeOptions>();
  const auto act = [&program](CLI::App* verb, std::function<int()> action) {
    verb->callback([&program, action = std::move(action)] { program.action = action; });
  };

  // No names are needed beside an option that stands for them.
  const auto take_names_or_all = [&options](CLI::App* to, const char* label, const char* flag,
                                            const char* what) {
    to->add_option("names", options->names)->option_text(label);
    to->add_flag(flag, options->all, what);
  };

  CLI::App* verb = add_verb(app, "create", "create containers from config files, without starting them");
  take_names(verb, *options, "FILE...");
  act(verb, [&program, options] { return create(program, *options); });

  verb = add_verb(app, "start", "start containers; a FILE is created first if it is not there");
  take_names_or_all(verb, "FILE|NAME...", "--autostart", "all with autostart = true, in their order");
  verb->add_flag("--fresh", options->fresh, "give up the checkpoint that a container was stopped with");
  act(verb, [&program, options] { return start(program, *options); });

  verb = add_verb(app, "run", "start a container in the foreground and pass its exit status on");
  verb->add_option("name", options->name)->required()->option_text("FILE|NAME");
  verb->add_flag("--rm", options->remove, "destroy the container when it has ended");
  verb->fallthrough(false)->prefix_command();
  verb->footer("What follows NAME (or --) is run instead of the configured command.");
  act(verb, [&program, options, verb] { return run(*options, payload_command(*verb, program)); });

  verb = add_verb(app, "stop", "stop containers: ask init to end, then kill");
  take_names_or_all(verb, "NAME...", "-a,--all", "all that run");
  verb->add_option("-t,--timeout", options->timeout, "time before it is killed (10s)");
  verb->add_flag("-k,--kill", options->force, "kill at once");
  verb->add_flag("--host-shutdown", options->host_shutdown,
                 "all that run, each as its on_host_shutdown says");
  verb->add_flag("--checkpoint", options->checkpoint,
                 "keep their processes in a checkpoint, from which start goes on");
  act(verb, [&program, options] { return stop(program, *options, runtime::Intent::stop); });

  verb = add_verb(app, "reboot", "stop containers and start them again");
  take_names_or_all(verb, "NAME...", "-a,--all", "all that run");
  verb->add_option("-t,--timeout", options->timeout, "time before it is killed (10s)");
  act(verb, [&program, options] { return stop(program, *options, runtime::Intent::reboot); });

  verb = add_verb(app, "kill", "send a signal to the init of containers");
  take_names(verb, *options, "NAME...");
  verb->add_option("-s,--signal", options->signal, "the signal (KILL)")->default_str("KILL");
  act(verb, [&program, options, verb] {
    const int signal = verb->count("--signal") ? parse_signal(options->signal) : SIGKILL;
    return act_on_each(program, *options, [signal](const auto& installation, const std::string& name) {
      runtime::send_signal(installation, name, signal);
    });
  });

  verb = add_verb(app, "pause", "freeze every process of containers");
  take_names(verb, *options, "NAME...");
  act(verb, [&program, options] { return act_on_each(program, *options, runtime::pause); });

  verb = add_verb(app, "resume", "let paused containers go on");
  take_names(verb, *options, "NAME...");
  act(verb, [&program, options] { return act_on_each(program, *options, runtime::resume); });

  verb = add_verb(app, "destroy", "remove stopped containers with all their files");
  take_names(verb, *options, "NAME...");
  verb->add_flag("-f,--force", options->force, "stop them first");
  act(verb, [&program, options] {
    return act_on_each(program, *options, [options](const auto& installation, const std::string& name) {
      runtime::destroy(installation, name, options->force);
    });
  });

  verb = add_verb(app, "rename", "give a stopped container another name");
  verb->add_option("name", options->name)->required()->option_text("NAME");
  verb->add_option("new-name", options->new_name)->required()->option_text("NEW-NAME");
  act(verb, [options] {
    runtime::rename(open_as_root(), options->name, options->new_name);
    return 0;
  });

  verb = add_verb(app, "wait", "wait until a container has stopped; its exit status");
  verb->add_option("name", options->name)->required()->option_text("NAME");
  verb->add_option("-t,--timeout", options->timeout, "give up after this time (exit status 125)");
  act(verb, [options] { return wait(*options); });
}

}  // namespace holm::cli
