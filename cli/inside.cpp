// Verbs that go into a running container.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "cli/command.h"
#include "isolation/protected_program.h"
#include "runtime/console.h"
#include "runtime/exec.h"
#include "runtime/lifecycle.h"
#include "runtime/observe.h"
#include "runtime/relay.h"
#include "runtime/settle.h"

namespace holm::cli {
namespace {

struct InsideOptions {
  runtime::ExecOptions exec;
  std::vector<std::string> environment;
  bool terminal = false;
};

// Starts this very command anew from the protected program, as nothing of ours may enter a container
// unprotected.
void ensure_protected() {
  if (isolation::is_program_protected()) return;
  const std::string words = read_file("/proc/self/cmdline");
  std::vector<std::string> arguments;
  for (size_t begin = 0; begin < words.size();) {
    const size_t end = words.find('\0', begin);
    arguments.push_back(words.substr(begin, end - begin));
    begin = end + 1;
  }
  const UniqueFd program = isolation::open_protected_program();
  isolation::execute_protected(program.get(), arguments);
}

int exec(InsideOptions& options) {
  require_root();
  ensure_protected();
  options.exec.environment = parse_environment(options.environment);
  options.exec.terminal = options.terminal;
  if (options.terminal) {
    const char* terminal = std::getenv("TERM");
    if (terminal && !options.exec.environment.contains("TERM")) options.exec.environment["TERM"] = terminal;
  }
  const auto installation = runtime::open_installation();
  try {
    runtime::adopt_if_orphaned(installation, options.exec.name);
    return runtime::exec_in_container(installation, options.exec);
  } catch (Error& error) {
    if (error.exit_status() == kExitFailed) error.exit_status(kExitHolmFailed);
    throw;
  }
}

int console(const std::string& name) {
  require_root();
  const auto installation = runtime::open_installation();
  runtime::require_container(installation.paths, name);
  const auto seen = runtime::observe(installation.paths, quotas::detect_cgroup_layout(), name);
  if (!seen.has_init())
    throw Error(fmt::format("container '{}' is not running", name))
        .hint(fmt::format("'holm log {}' shows what it said", name));
  UniqueFd socket;
  try {
    socket = runtime::connect_console(installation.paths.runtime(name));
  } catch (Error& error) {
    throw error.frame(fmt::format("container '{}' has no console", name))
        .hint("it runs in the foreground with pipes, or its monitor was killed");
  }
  if (runtime::is_terminal(0)) fmt::print(stderr, "console of '{}'; Ctrl-] leaves it\n", name);
  runtime::RelaySignals signals;
  if (runtime::relay_console(signals, socket.get()) == runtime::RelayEnd::detached) fmt::print(stderr, "\n");
  return 0;
}

void add_common(CLI::App* verb, const std::shared_ptr<InsideOptions>& options) {
  verb->add_option("name", options->exec.name)->required()->option_text("NAME");
  verb->add_option("-u,--user", options->exec.user, "user, user:group, uid or uid:gid inside (root)");
  verb->add_option("-w,--workdir", options->exec.workdir, "working directory inside (/)");
  verb->add_option("-e,--env", options->environment, "NAME=VALUE to add to the environment")
      ->expected(1)
      ->allow_extra_args(false)  // the next word is the container, not a second variable
      ->take_all();
}

}  // namespace

void add_inside_verbs(CLI::App& app, Program& program) {
  auto options = std::make_shared<InsideOptions>();
  CLI::App* exec_verb = app.add_subcommand("exec", "run a program in a running container; its exit status");
  add_common(exec_verb, options);
  exec_verb->add_flag("-t,--tty,-i", options->terminal, "give it a terminal");
  exec_verb->fallthrough(false)->prefix_command();
  exec_verb->callback([&program, options, exec_verb] {
    options->exec.arguments = payload_command(*exec_verb, program);
    program.action = [options] {
      if (options->exec.arguments.empty())
        throw usage_error("say what to run")
            .hint(fmt::format("'holm shell {}' gives a shell", options->exec.name));
      return exec(*options);
    };
  });

  CLI::App* shell_verb = app.add_subcommand("shell", "a login shell in a running container");
  add_common(shell_verb, options);
  shell_verb->callback([&program, options] {
    options->terminal = runtime::is_terminal(0) && runtime::is_terminal(1);
    program.action = [options] { return exec(*options); };
  });

  CLI::App* console_verb = app.add_subcommand("console", "attach to a container's console; Ctrl-] leaves it");
  console_verb->add_option("name", options->exec.name)->required()->option_text("NAME");
  console_verb->callback(
      [&program, options] { program.action = [options] { return console(options->exec.name); }; });
}

}  // namespace holm::cli
