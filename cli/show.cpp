// Verbs that show containers.
#include <fmt/format.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/table.h"
#include "runtime/config_show.h"
#include "runtime/container_processes.h"
#include "runtime/host_side.h"
#include "runtime/lifecycle.h"
#include "runtime/observe.h"
#include "runtime/settle.h"
#include "runtime/suspended.h"

namespace holm::cli {
namespace {

using nlohmann::json;

// One container as `list` and `inspect` show it: each value was looked at just now.
struct Row {
  std::string name;
  std::string state;
  std::string problem;
  uint32_t number = 0;
  std::optional<runtime::State> recorded;
  pid_t pid = 0;
  quotas::Usage usage;
  bool alive = false;
};

Row make_row(const runtime::Installation& installation, const quotas::CgroupLayout& layout,
             const std::string& name) {
  const runtime::Observation seen = runtime::observe(installation.paths, layout, name);
  Row row;
  row.name = name;
  row.state = runtime::condition_name(seen.condition);
  if (seen.condition == runtime::Condition::stopped && runtime::is_suspended(installation.paths, name))
    row.state = "suspended";
  row.problem = seen.problem;
  row.recorded = seen.state;
  row.alive = seen.has_init();
  if (row.recorded) row.number = row.recorded->number;
  if (row.alive) {
    row.pid = row.recorded->init.pid;
    ignore_errors([&] {  // it may end between the two looks; then nothing is held
      row.usage = quotas::make_cgroup(layout, installation.paths.cgroup_parent(), row.number)->usage();
    });
  }
  return row;
}

std::string uptime(const Row& row) {
  if (!row.alive) return "";
  return format_duration(
      std::chrono::seconds(std::max<int64_t>(0, std::time(nullptr) - row.recorded->started_at)));
}

std::string reason(const Row& row) {
  if (!row.problem.empty()) return row.problem;
  if (row.alive || !row.recorded || !row.recorded->last_exit) return "";
  return row.recorded->last_exit->reason;
}

struct Column {
  const char* name;
  const char* meaning;
  std::string (*value)(const Row&);
};

constexpr std::array<Column, 11> kColumns = {{
    {"name", "the container's name", [](const Row& row) { return row.name; }},
    {"state", "stopped, starting, running, paused, stopping, restarting, orphaned or damaged",
     [](const Row& row) { return row.state; }},
    {"number", "the number that its kernel objects are named by",
     [](const Row& row) { return row.number ? std::to_string(row.number) : ""; }},
    {"pid", "init's pid on the host",
     [](const Row& row) { return row.alive ? std::to_string(row.pid) : ""; }},
    {"address", "addresses",
     [](const Row& row) { return row.alive ? join(row.recorded->addresses, " ") : ""; }},
    {"memory", "memory held",
     [](const Row& row) { return row.alive && row.usage.memory ? format_bytes(*row.usage.memory) : ""; }},
    {"cpu", "CPU time used in this run",
     [](const Row& row) {
       return row.alive ? fmt::format("{:.1f}s", std::chrono::duration<double>(row.usage.cpu_time).count())
                        : "";
     }},
    {"pids", "processes and threads",
     [](const Row& row) { return row.alive && row.usage.pids ? std::to_string(*row.usage.pids) : ""; }},
    {"uptime", "time since init started", uptime},
    {"restarts", "restarts since a person started it",
     [](const Row& row) { return row.recorded ? std::to_string(row.recorded->restarts) : ""; }},
    {"reason", "why it is not running", reason},
}};
constexpr const char* kDefaultColumns = "name,state,pid,address,memory,cpu,uptime,reason";

const Column& find_column(const std::string& name) {
  std::vector<std::string_view> known;
  for (const Column& column : kColumns) {
    if (name == column.name) return column;
    known.emplace_back(column.name);
  }
  Error error = usage_error(fmt::format("there is no column '{}'", printable(name)));
  const auto meant = nearest(name, known);
  throw error.hint(meant ? fmt::format("did you mean '{}'?", *meant)
                         : fmt::format("there are: {}", fmt::join(known, ", ")));
}

json row_json(const Row& row) {
  json value = {{"name", row.name},
                {"state", row.state},
                {"number", row.number},
                {"pid", nullptr},
                {"reason", reason(row)}};
  if (!row.problem.empty()) value["problem"] = row.problem;
  if (row.recorded) {
    value["restarts"] = row.recorded->restarts;
    if (const auto& exit = row.recorded->last_exit)
      value["last_exit"] = {
          {"status", exit->status},       {"signal", exit->signal}, {"out_of_memory", exit->out_of_memory},
          {"requested", exit->requested}, {"reason", exit->reason}, {"at", exit->at}};
  }
  if (row.recorded && row.recorded->oom_victim) {
    const runtime::OomVictim& victim = *row.recorded->oom_victim;
    value["last_oom_kill"] = {{"process", victim.process}, {"pid", victim.pid}, {"at", victim.at}};
  }
  if (!row.alive) return value;
  value["pid"] = row.pid;
  value["monitor_pid"] = row.recorded->monitor.pid;
  value["started_at"] = row.recorded->started_at;
  value["addresses"] = row.recorded->addresses;
  value["cpu_time_ns"] = row.usage.cpu_time.count();
  if (row.usage.memory) value["memory_bytes"] = row.usage.memory->count;
  if (row.usage.memory_peak) value["memory_peak_bytes"] = row.usage.memory_peak->count;
  if (row.usage.pids) value["pids"] = *row.usage.pids;
  value["oom_kills"] = row.usage.oom_kills;
  return value;
}

std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

struct ShowOptions {
  std::string name;
  std::vector<std::string> names;
  std::string columns = kDefaultColumns;
  bool all = false;
  bool no_header = false;
  bool follow = false;
  bool monitor = false;
  unsigned lines = 0;
};

int list(const Program& program, const ShowOptions& options) {
  require_root();
  std::vector<const Column*> columns;
  if (options.columns.empty())
    throw usage_error("'--columns' names no column").hint("'holm list --help' lists them");
  for (const std::string& name : split(options.columns, ',')) columns.push_back(&find_column(name));
  const auto installation = runtime::open_installation();
  const auto layout = quotas::detect_cgroup_layout();
  std::vector<Row> rows;
  for (const std::string& name : options.names) runtime::require_container(installation.paths, name);
  for (const std::string& name :
       options.names.empty() ? runtime::container_names(installation.paths) : options.names) {
    Row row = make_row(installation, layout, name);
    if (options.all || !options.names.empty() || row.state != "stopped") rows.push_back(std::move(row));
  }
  if (program.globals.json) {
    json array = json::array();
    for (const Row& row : rows) array.push_back(row_json(row));
    print_output(dump(array));
    return 0;
  }
  std::vector<std::string> header;
  for (const Column* column : columns) {
    std::string title = column->name;
    for (char& c : title) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    header.push_back(title);
  }
  std::vector<std::vector<std::string>> cells;
  for (const Row& row : rows) {
    auto& line = cells.emplace_back();
    for (const Column* column : columns) line.push_back(column->value(row));
  }
  std::string table = format_table(header, cells);
  if (options.no_header) table.erase(0, table.find('\n') + 1);
  print_output(table);
  return 0;
}

json io_json(const quotas::IoLimits& io) {
  const auto number = [](const auto& value) { return value ? json(*value) : json(nullptr); };
  const auto bytes = [](const auto& value) { return value ? json(value->count) : json(nullptr); };
  json devices = json::array();
  for (const quotas::BlockDevice& device : io.devices.limited)
    devices.push_back(quotas::format_device_number(device.number));
  return {{"weight", io.weight},
          {"read", bytes(io.read)},
          {"write", bytes(io.write)},
          {"read_ops", number(io.read_ops)},
          {"write_ops", number(io.write_ops)},
          {"devices", devices}};
}

json limits_json(const quotas::Limits& limits) {
  const auto bytes = [](const std::optional<Bytes>& value) {
    return value ? json(value->count) : json(nullptr);
  };
  return {{"cpu",
           {{"weight", limits.cpu.weight},
            {"cap_percent", limits.cpu.cap_percent},
            {"burst_percent", limits.cpu.burst_percent},
            {"cpus", quotas::format_cpu_set(limits.cpu.pin)},
            {"nodes", quotas::format_cpu_set(limits.cpu.nodes)}}},
          {"memory",
           {{"limit", bytes(limits.memory.limit)},
            {"barrier", bytes(limits.memory.barrier)},
            {"guarantee", bytes(limits.memory.guarantee)},
            {"swap", bytes(limits.memory.swap)}}},
          {"pids", {{"limit", limits.pids ? json(*limits.pids) : json(nullptr)}}},
          {"io", io_json(limits.io)}};
}

std::string inspect_text(const json& value, const std::string& spec) {
  std::string out;
  for (const auto& [key, entry] : value.items()) {
    if (key == "spec") continue;
    out += fmt::format("{:<18} {}\n", key,
                       entry.is_string() ? printable(entry.get<std::string>()) : entry.dump());
  }
  return out + "\n# Configuration\n" + spec;
}

int inspect(const Program& program, const ShowOptions& options) {
  require_root();
  const auto installation = runtime::open_installation();
  const auto layout = quotas::detect_cgroup_layout();
  json array = json::array();
  const int status = for_each_name(program, options.names, [&](const std::string& name) {
    runtime::require_container(installation.paths, name);
    const Row row = make_row(installation, layout, name);
    json value = row_json(row);
    const runtime::StoredContainer container = runtime::load_container(installation, name);
    value["number"] = container.identity.number;
    value["uuid"] = container.identity.uuid;
    value["ids"] = {{"first", container.identity.ids.first}, {"count", container.identity.ids.count}};
    value["directory"] = installation.paths.container(name);
    if (row.alive) {
      const auto cgroup =
          quotas::make_cgroup(layout, installation.paths.cgroup_parent(), container.identity.number);
      value["limits_in_kernel"] = limits_json(cgroup->read_limits());
      value["cgroups"] = cgroup->directories();
    }
    value["spec"] = json::parse(runtime::to_json(container.config.spec));
    if (!program.globals.json) print_output(inspect_text(value, runtime::show_spec(container.config.spec)));
    array.push_back(std::move(value));
  });
  // One name gives one object, so that scripts need no index.
  if (program.globals.json && !array.empty()) print_output(dump(array.size() == 1 ? array[0] : array));
  return status;
}

int processes(const Program& program, const ShowOptions& options) {
  require_root();
  const auto installation = runtime::open_installation();
  runtime::adopt_if_orphaned(installation, options.name);
  const runtime::StoredContainer container = runtime::load_container(installation, options.name);
  json array = json::array();
  std::vector<std::vector<std::string>> rows;
  for (const auto& process : runtime::container_processes(installation, container)) {
    array.push_back({{"pid", process.pid},
                     {"container_pid", process.container_pid},
                     {"uid", process.uid},
                     {"state", std::string(1, process.state)},
                     {"memory_bytes", process.resident.count},
                     {"cpu_seconds", process.cpu_seconds},
                     {"command", process.command}});
    rows.push_back({std::to_string(process.pid), std::to_string(process.container_pid),
                    std::to_string(process.uid), std::string(1, process.state),
                    format_bytes(process.resident), fmt::format("{:.1f}s", process.cpu_seconds),
                    process.command});
  }
  print_output(program.globals.json
                   ? dump(array)
                   : format_table({"PID", "INSIDE", "UID", "STATE", "MEMORY", "CPU", "COMMAND"}, rows));
  return 0;
}

std::string last_lines(const std::string& text, unsigned lines) {
  size_t at = text.size();
  for (unsigned counted = 0; at > 0; --at) {
    if (text[at - 1] == '\n' && at != text.size() && ++counted == lines) break;
  }
  return text.substr(at);
}

// Copies what is appended to a log until the container has stopped; starts over where the log was rotated.
void follow(const runtime::Installation& installation, const std::string& name, const std::string& path,
            size_t from) {
  const auto layout = quotas::detect_cgroup_layout();
  for (bool last_look = false;;) {
    const auto text = read_file_if_exists(path, 2 << 20);
    if (text && text->size() < from) from = 0;
    if (text && text->size() > from) print_output(text->substr(from));
    if (text) from = text->size();
    if (last_look) return;
    last_look = runtime::observe(installation.paths, layout, name).condition == runtime::Condition::stopped;
    if (!last_look) ::usleep(200'000);
  }
}

int log(const ShowOptions& options) {
  require_root();
  const auto installation = runtime::open_installation();
  runtime::require_container(installation.paths, options.name);
  const std::string path =
      installation.paths.runtime(options.name) + (options.monitor ? "/monitor.log" : "/init.log");
  const std::string older = read_file_if_exists(path + ".1", 2 << 20).value_or("");
  const auto current = read_file_if_exists(path, 2 << 20);
  const std::string text = older + current.value_or("");
  print_output(options.lines ? last_lines(text, options.lines) : text);
  if (options.follow) follow(installation, options.name, path, current.value_or("").size());
  return 0;
}

}  // namespace

void add_show_verbs(CLI::App& app, Program& program) {
  auto options = std::make_shared<ShowOptions>();
  CLI::App* verb = app.add_subcommand("list", "list running containers, or those that are named");
  verb->add_option("names", options->names)->option_text("NAME...");
  verb->add_flag("-a,--all", options->all, "stopped ones, too");
  verb->add_option("-o,--columns", options->columns, "columns to show, separated by commas");
  verb->add_flag("-H,--no-header", options->no_header, "without the line of titles");
  verb->alias("ls");
  std::string columns = "Columns:\n";
  for (const Column& column : kColumns) columns += fmt::format("  {:<10} {}\n", column.name, column.meaning);
  verb->footer(columns);
  verb->callback(
      [&program, options] { program.action = [&program, options] { return list(program, *options); }; });

  verb = app.add_subcommand("inspect", "show all that is known of containers");
  verb->add_option("names", options->names)->required()->option_text("NAME...");
  verb->callback(
      [&program, options] { program.action = [&program, options] { return inspect(program, *options); }; });

  verb = app.add_subcommand("ps", "list the processes of a container");
  verb->add_option("name", options->name)->required()->option_text("NAME");
  verb->callback(
      [&program, options] { program.action = [&program, options] { return processes(program, *options); }; });

  verb = app.add_subcommand("log", "show what a container wrote to its console");
  verb->add_option("name", options->name)->required()->option_text("NAME");
  verb->add_flag("-f,--follow", options->follow, "go on until it stops");
  verb->add_option("-n,--lines", options->lines, "only the last lines");
  verb->add_flag("--monitor", options->monitor, "the monitor's own log instead");
  verb->callback([&program, options] { program.action = [options] { return log(*options); }; });
}

}  // namespace holm::cli
