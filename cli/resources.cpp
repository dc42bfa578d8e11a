// Verbs that change what running containers may use: set, and Xen's names for its most frequent uses.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "base/unit.h"
#include "cli/command.h"
#include "cli/table.h"
#include "runtime/config_keys.h"
#include "runtime/container_processes.h"
#include "runtime/host_side.h"
#include "runtime/observe.h"
#include "runtime/resource_change.h"

namespace holm::cli {
namespace {

using nlohmann::json;
using runtime::ChangeScope;
using runtime::Condition;

struct ResourceOptions {
  std::string name;
  std::vector<std::string> names;
  std::vector<std::string> changes;
  std::string value;
  std::string vcpu;
  std::string weight;
  std::string cap;
  bool now = false;
  bool saved = false;
};

// One that runs, as it is now.
struct RunningContainer {
  std::string name;
  Condition condition = Condition::running;
  runtime::StoredContainer stored;
  std::unique_ptr<quotas::Cgroup> cgroup;
};

std::optional<RunningContainer> find_running(const runtime::Installation& installation,
                                             const std::string& name) {
  runtime::require_container(installation.paths, name);
  const auto seen = runtime::observe(installation.paths, quotas::detect_cgroup_layout(), name);
  if (!seen.has_init()) return std::nullopt;
  RunningContainer found{name, seen.condition, runtime::load_running_container(installation, name), nullptr};
  found.cgroup = runtime::container_cgroup(installation.paths, found.stored.identity.number);
  return found;
}

// Those that are named, which must run, or all that run.
struct RunningContainers {
  std::vector<RunningContainer> all;
  int status = 0;  // the exit status of the first that cannot be shown
};

RunningContainers running_containers(const Program& program, const runtime::Installation& installation,
                                     const std::vector<std::string>& names) {
  RunningContainers running;
  if (!names.empty()) {
    running.status = for_each_name(program, names, [&](const std::string& name) {
      auto found = find_running(installation, name);
      if (!found) throw runtime::not_running(name);
      running.all.push_back(std::move(*found));
    });
    return running;
  }
  for (const std::string& name : runtime::container_names(installation.paths)) {
    try {
      if (auto found = find_running(installation, name)) running.all.push_back(std::move(*found));
    } catch (const Error& error) {
      print_warning(error.message());  // one that is damaged or has just ended hides no other
    }
  }
  return running;
}

int change(const Program& program, const std::string& name, const std::vector<std::string>& words,
           ChangeScope scope) {
  require_root();
  const auto changes = runtime::parse_changes(words);
  const auto report = runtime::change_resources(runtime::open_installation(), name, changes, scope);
  for (const std::string& warning : report.warnings)
    print_warning(fmt::format("container '{}': {}", name, warning));
  if (program.globals.json)
    print_output(
        json({{"name", name}, {"in_force", report.is_in_force}, {"saved", report.is_saved}}).dump(2) + "\n");
  else if (!report.is_in_force && scope == ChangeScope::now_and_saved)
    print_output(fmt::format("container '{}' does not run: saved for its next start\n", name));
  return 0;
}

int set(const Program& program, const ResourceOptions& options) {
  const ChangeScope scope = options.now     ? ChangeScope::now
                            : options.saved ? ChangeScope::saved
                                            : ChangeScope::now_and_saved;
  return change(program, options.name, options.changes, scope);
}

// --- Xen's verbs

// Xen's sizes are MiB where they have no unit.
Bytes parse_xen_size(const std::string& text) {
  const auto size = parse_bytes(parse_unsigned(text) ? text + "M" : text);
  if (!size)
    throw usage_error(fmt::format("'{}' is no size", printable(text)))
        .hint("for example 512, which are MiB, or 1G");
  return *size;
}

std::string memory_limit(Bytes size) { return fmt::format("memory.limit={}", size.count); }

// The memory that it has now, within the maximum that its config allows.
int set_memory(const Program& program, const ResourceOptions& options) {
  require_root();
  const Bytes wanted = parse_xen_size(options.value);
  const auto installation = runtime::open_installation();
  const auto most = runtime::load_container(installation, options.name).config.spec.limits.memory.limit;
  if (most && wanted > *most)
    throw Error(fmt::format("container '{}' may have at most {}", options.name, describe_bytes(*most)))
        .hint(fmt::format("'holm mem-max {} {}' first", options.name, options.value));
  return change(program, options.name, {memory_limit(wanted)}, ChangeScope::now);
}

// The maximum: at once where the container has more.
int set_memory_maximum(const Program& program, const ResourceOptions& options) {
  require_root();
  const Bytes wanted = parse_xen_size(options.value);
  const auto running = find_running(runtime::open_installation(), options.name);
  const auto held = running ? running->cgroup->read_limits().memory.limit : std::nullopt;
  const bool has_less = running && held && *held <= wanted;
  return change(program, options.name, {memory_limit(wanted)},
                has_less ? ChangeScope::saved : ChangeScope::now_and_saved);
}

int set_cpu_count(const Program& program, const ResourceOptions& options) {
  return change(program, options.name, {"cpu.count=" + options.value}, ChangeScope::now_and_saved);
}

int pin_cpus(const Program& program, const ResourceOptions& options) {
  if (options.vcpu != "all")
    throw usage_error(
        fmt::format("'{}': a container has no CPUs of its own to pin one by one", printable(options.vcpu)))
        .hint(fmt::format("'holm vcpu-pin {} all {}' pins all that it uses", options.name, options.value));
  const std::string cpus = options.value == "all" ? "default" : options.value;
  return change(program, options.name, {"cpu.pin=" + cpus}, ChangeScope::now_and_saved);
}

// As Xen has it: "r--" runs now, "-b-" has nothing to run, "--p" is paused.
std::string cpu_state(const RunningContainer& container, unsigned cpu,
                      const std::vector<runtime::ContainerProcess>& processes) {
  if (container.condition == Condition::paused) return "--p";
  const bool runs = std::ranges::any_of(
      processes, [&](const auto& process) { return process.state == 'R' && process.last_cpu == cpu; });
  return runs ? "r--" : "-b-";
}

int list_cpus(const Program& program, const ResourceOptions& options) {
  require_root();
  const auto installation = runtime::open_installation();
  std::vector<std::vector<std::string>> rows;
  json array = json::array();
  const RunningContainers running = running_containers(program, installation, options.names);
  for (const RunningContainer& container : running.all) {
    const quotas::CpuSet pinned = container.cgroup->read_limits().cpu.pin;
    const quotas::CpuSet cpus = pinned.empty() ? quotas::online_cpus() : pinned;
    const auto times = container.cgroup->time_per_cpu();
    std::vector<runtime::ContainerProcess> processes;
    ignore_errors([&] {  // it may have just ended
      processes = runtime::container_processes(installation, container.stored);
    });
    unsigned vcpu = 0;
    for (const unsigned cpu : cpus) {
      const std::string state = cpu_state(container, cpu, processes);
      const bool has_time = cpu < times.size();
      array.push_back({{"name", container.name},
                       {"number", container.stored.identity.number},
                       {"vcpu", vcpu},
                       {"cpu", cpu},
                       {"state", state},
                       {"time_ns", has_time ? json(times[cpu].count()) : json(nullptr)},
                       {"affinity", quotas::format_cpu_set(cpus)}});
      rows.push_back(
          {container.name, std::to_string(container.stored.identity.number), std::to_string(vcpu++),
           std::to_string(cpu), state,
           has_time ? fmt::format("{:.1f}", std::chrono::duration<double>(times[cpu]).count()) : "-",
           pinned.empty() ? "all" : quotas::format_cpu_set(cpus)});
    }
  }
  print_output(program.globals.json
                   ? array.dump(2) + "\n"
                   : format_table({"Name", "ID", "VCPU", "CPU", "State", "Time(s)", "CPU Affinity"}, rows));
  return running.status;
}

// The kernel's weight, in the config's number where both mean the same: cgroup v2 rounds.
uint32_t weight_of(const RunningContainer& container, const quotas::CpuLimits& held) {
  const uint32_t asked = container.stored.config.spec.limits.cpu.weight;
  return quotas::cpu_weight_v2(asked) == quotas::cpu_weight_v2(held.weight) ? asked : held.weight;
}

int credit(const Program& program, const ResourceOptions& options) {
  std::vector<std::string> words;
  if (!options.weight.empty()) words.push_back("cpu.weight=" + options.weight);
  if (!options.cap.empty()) words.push_back("cpu.cap=" + options.cap);
  if (!words.empty()) {
    if (options.name.empty())
      throw usage_error("say which container").hint("'holm sched-credit -d NAME -w WEIGHT -c CAP'");
    return change(program, options.name, words, ChangeScope::now_and_saved);
  }
  require_root();
  const auto installation = runtime::open_installation();
  std::vector<std::string> names;
  if (!options.name.empty()) names.push_back(options.name);
  std::vector<std::vector<std::string>> rows;
  json array = json::array();
  const RunningContainers running = running_containers(program, installation, names);
  for (const RunningContainer& container : running.all) {
    const quotas::CpuLimits held = container.cgroup->read_limits().cpu;
    const uint32_t weight = weight_of(container, held), number = container.stored.identity.number;
    array.push_back(
        {{"name", container.name}, {"number", number}, {"weight", weight}, {"cap", held.cap_percent}});
    rows.push_back(
        {container.name, std::to_string(number), std::to_string(weight), std::to_string(held.cap_percent)});
  }
  print_output(program.globals.json ? array.dump(2) + "\n"
                                    : format_table({"Name", "ID", "Weight", "Cap"}, rows));
  return running.status;
}

using Verb = int (*)(const Program&, const ResourceOptions&);

CLI::App* add_verb(CLI::App& app, Program& program, const std::shared_ptr<ResourceOptions>& options,
                   const char* name, const char* meaning, Verb verb) {
  CLI::App* const added = app.add_subcommand(name, meaning);
  added->callback([&program, options, verb] {
    program.action = [&program, options, verb] { return verb(program, *options); };
  });
  return added;
}

void add_set(CLI::App& app, Program& program, const std::shared_ptr<ResourceOptions>& options) {
  CLI::App* const verb = add_verb(app, program, options, "set",
                                  "change what a container may use, now and for its next starts", set);
  verb->add_option("name", options->name)->required()->option_text("NAME");
  verb->add_option("changes", options->changes)->required()->option_text("KEY=VALUE...");
  auto* const now = verb->add_flag("--now", options->now, "only now, until its next start");
  verb->add_flag("--saved", options->saved, "only for its next starts")->excludes(now);
  std::string keys = "Keys:\n";
  for (const auto* key : runtime::resource_keys())
    keys += fmt::format("  {:<17} {}\n", key->path, key->meaning);
  verb->footer(keys + "\nKEY=default takes a key out of the config. Either all changes are made or none.");
}

}  // namespace

void add_resource_verbs(CLI::App& app, Program& program) {
  const auto options = std::make_shared<ResourceOptions>();
  add_set(app, program, options);

  CLI::App* verb = add_verb(app, program, options, "mem-set",
                            "give a running container more or less memory, within its maximum", set_memory);
  verb->add_option("name", options->name)->required()->option_text("NAME");
  verb->add_option("size", options->value)->required()->option_text("SIZE");
  verb = add_verb(app, program, options, "mem-max", "set the most memory that a container may have",
                  set_memory_maximum);
  verb->add_option("name", options->name)->required()->option_text("NAME");
  verb->add_option("size", options->value)->required()->option_text("SIZE");
  verb = add_verb(app, program, options, "vcpu-set", "set how many CPUs a container may use", set_cpu_count);
  verb->add_option("name", options->name)->required()->option_text("NAME");
  verb->add_option("count", options->value)->required()->option_text("COUNT");
  verb = add_verb(app, program, options, "vcpu-pin", "set which CPUs a container may use", pin_cpus);
  verb->add_option("name", options->name)->required()->option_text("NAME");
  verb->add_option("vcpu", options->vcpu)->required()->option_text("all");
  verb->add_option("cpus", options->value)->required()->option_text("CPUS|all");
  verb = add_verb(app, program, options, "vcpu-list", "list the CPUs that containers may use", list_cpus);
  verb->add_option("names", options->names)->option_text("NAME...");
  verb = add_verb(app, program, options, "sched-credit", "show or set weight and cap", credit);
  verb->add_option("-d,--domain", options->name, "the container; without it all are shown");
  verb->add_option("-w,--weight", options->weight, "share under contention");
  verb->add_option("-c,--cap", options->cap, "hard bound in percent of one CPU, 0 for none");
}

}  // namespace holm::cli
