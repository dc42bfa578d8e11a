// What the verbs of the command line share.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/container_store.h"

namespace CLI {
class App;
}

namespace holm::cli {

// Options that every verb knows.
struct Globals {
  bool json = false;
};

// Each verb family adds its verbs; a verb that was chosen leaves what it will do in `action`, which returns
// the exit status.
struct Program {
  Globals globals;
  // What follows "--": the payload's own words, never ours.
  std::optional<std::vector<std::string>> tail;
  std::function<int()> action;
};
void add_life_verbs(CLI::App& app,
                    Program& program);  // create start run stop kill reboot pause resume destroy rename wait
void add_show_verbs(CLI::App& app, Program& program);        // list inspect ps log
void add_checkpoint_verbs(CLI::App& app, Program& program);  // save restore checkpoint clone
void add_counter_verbs(CLI::App& app, Program& program);     // counters
void add_metric_verbs(CLI::App& app, Program& program);      // metrics
void add_inside_verbs(CLI::App& app, Program& program);      // exec shell console
void add_resource_verbs(CLI::App& app,
                        Program& program);  // set mem-set mem-max vcpu-set vcpu-pin vcpu-list sched-credit
void add_template_verbs(CLI::App& app, Program& program);  // template build|import|list|inspect|remove
void add_config_verbs(CLI::App& app, Program& program);    // config check|show
void add_host_verbs(CLI::App& app, Program& program);      // info check gc version
void add_account_verbs(CLI::App& app, Program& program);   // account sample, usage

// The payload's command of `run` and `exec`: what follows the name, with or without "--".
std::vector<std::string> payload_command(const CLI::App& verb, const Program& program);

// Root rights are needed by every verb that touches the kernel or the state directories.
void require_root();

// A FILE (it has a '/' or ends in ".toml") is loaded; anything else is the NAME of a container: nothing.
std::optional<runtime::ConfigFile> load_if_file(const runtime::Installation& installation,
                                                const std::string& argument);

// Does `body` for each name; an Error is printed and the others still get their turn. 0, or the first error's
// status.
int for_each_name(const Program& program, const std::vector<std::string>& names,
                  const std::function<void(const std::string&)>& body);

// On standard error, as text or as JSON.
void print_error(const Error& error, const Globals& globals);
void print_warning(const std::string& text);
void print_output(const std::string& text);  // throws when standard output cannot take it

// The time of an option: "10", "500ms", "2m".
std::chrono::milliseconds parse_time(const std::string& text, const char* option);

// "NAME=VALUE" words; throws a usage error for others.
std::map<std::string, std::string> parse_environment(const std::vector<std::string>& words);

}  // namespace holm::cli
