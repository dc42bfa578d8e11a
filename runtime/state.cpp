#include "runtime/state.h"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/process_stat.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm::runtime {
namespace {

using nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr std::array<const char*, 4> kPhaseNames = {"starting", "running", "restarting", "stopped"};

Phase phase_from_name(const std::string& name) {
  for (size_t i = 0; i < kPhaseNames.size(); ++i) {
    if (name == kPhaseNames[i]) return static_cast<Phase>(i);
  }
  throw Error(fmt::format("unknown phase '{}'", name));
}

// nlohmann cuts a number that does not fit; a damaged state must not name another container or process.
template <class Number>
Number number_from(const json& value, const char* key) {
  const json& member = value.at(key);
  const auto number = member.get<Number>();
  if (!member.is_number_integer() || member != json(number))
    throw Error(fmt::format("not a state file: '{}' is {}", key, member.dump()));
  return number;
}

json to_json(const ProcessId& process) { return {{"pid", process.pid}, {"start_time", process.start_time}}; }

ProcessId process_from_json(const json& value) {
  return {number_from<pid_t>(value, "pid"), number_from<uint64_t>(value, "start_time")};
}

json to_json(const ExitRecord& record) {
  return {{"status", record.status},
          {"signal", record.signal},
          {"out_of_memory", record.out_of_memory},
          {"requested", record.requested},
          {"saved", record.is_saved},
          {"reason", record.reason},
          {"at", record.at}};
}

ExitRecord exit_from_json(const json& value) {
  ExitRecord record;
  record.status = number_from<int>(value, "status");
  record.signal = number_from<int>(value, "signal");
  record.out_of_memory = value.at("out_of_memory");
  record.requested = value.at("requested");
  record.is_saved = value.value("saved", false);  // older ones do not have it
  record.reason = value.at("reason");
  record.at = number_from<int64_t>(value, "at");
  return record;
}

OomVictim victim_from_json(const json& value) {
  return {value.at("process"), number_from<pid_t>(value, "pid"), number_from<int64_t>(value, "at")};
}

uint64_t start_time_of(const ProcessStat& stat) { return stat.field(22); }

std::string state_path(const Paths& paths, const std::string& name) {
  return paths.runtime(name) + "/state.json";
}

}  // namespace

ProcessId identify_process(pid_t pid) {
  const auto stat = read_process_stat(pid);
  if (!stat) throw Error::system(ESRCH, fmt::format("identify process '{}'", pid));
  return {pid, start_time_of(*stat)};
}

bool is_alive(const ProcessId& process) {
  if (process.pid <= 0) return false;
  const auto stat = read_process_stat(process.pid);
  return stat && start_time_of(*stat) == process.start_time && stat->state() != 'Z';
}

int64_t clock_tick_ns() {
  static const int64_t tick = 1'000'000'000 / ::sysconf(_SC_CLK_TCK);
  return tick;
}

int64_t start_ns(const ProcessId& process) {
  return static_cast<int64_t>(process.start_time) * clock_tick_ns();
}

std::optional<UniqueFd> open_process(const ProcessId& process) {
  if (process.pid <= 0) return std::nullopt;
  auto fd = sys::pidfd_open_if_alive(process.pid);
  if (!fd || !is_alive(process)) return std::nullopt;
  return fd;
}

const char* phase_name(Phase phase) { return kPhaseNames[static_cast<size_t>(phase)]; }

std::string encode_state(const State& state) {
  json value = {{"version", kFormatVersion},
                {"name", state.name},
                {"number", state.number},
                {"phase", phase_name(state.phase)},
                {"complete", state.is_complete},
                {"init", to_json(state.init)},
                {"monitor", to_json(state.monitor)},
                {"boot_id", state.boot_id},
                {"started_at", state.started_at},
                {"restarts", state.restarts},
                {"addresses", state.addresses},
                {"interfaces", state.interfaces},
                {"warnings", state.warnings},
                {"remove_when_stopped", state.remove_when_stopped}};
  if (state.last_exit) value["last_exit"] = to_json(*state.last_exit);
  if (const auto& victim = state.oom_victim)
    value["oom_victim"] = {{"process", victim->process}, {"pid", victim->pid}, {"at", victim->at}};
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

State decode_state(const std::string& text) {
  try {
    const json value = json::parse(text);
    if (value.at("version").get<int>() > kFormatVersion)
      throw Error("written by a newer version of Holm")
          .hint("use that version, or stop the container with it first");
    State state;
    state.name = value.at("name");
    state.number = number_from<uint32_t>(value, "number");
    state.phase = phase_from_name(value.at("phase"));
    state.is_complete = value.value("complete", false);  // as above
    state.init = process_from_json(value.at("init"));
    state.monitor = process_from_json(value.at("monitor"));
    state.boot_id = value.at("boot_id");
    state.started_at = number_from<int64_t>(value, "started_at");
    state.restarts = number_from<unsigned>(value, "restarts");
    state.addresses = value.at("addresses");
    if (value.contains("interfaces")) state.interfaces = value.at("interfaces");
    state.warnings = value.at("warnings");
    state.remove_when_stopped = value.at("remove_when_stopped");
    if (value.contains("last_exit")) state.last_exit = exit_from_json(value.at("last_exit"));
    if (value.contains("oom_victim")) state.oom_victim = victim_from_json(value.at("oom_victim"));
    return state;
  } catch (const json::exception& failure) {
    throw Error(fmt::format("not a state file: {}", failure.what()));
  }
}

std::optional<State> read_state(const Paths& paths, const std::string& name) {
  const std::string path = state_path(paths, name);
  return with_frame(fmt::format("read '{}'", path), [&]() -> std::optional<State> {
    const auto text = read_file_if_exists(path);
    if (!text) return std::nullopt;
    return decode_state(*text);
  });
}

void write_state(const Paths& paths, const State& state) {
  // Below /run nothing outlives the machine, so a sync would only cost time; rename keeps it whole for
  // readers.
  const std::string path = state_path(paths, state.name);
  try {
    replace_file(path, encode_state(state));
  } catch (const Error& error) {
    // A full /run must not keep a container from being stopped or destroyed: the old record makes room, and
    // without any a container counts as stopped, too.
    if (state.phase != Phase::stopped || error.error_number() != ENOSPC) throw;
    sys::remove_file(path);
    ignore_errors([&] { replace_file(path, encode_state(state)); });  // only how it ended is lost
  }
}

std::string current_boot_id() { return std::string(trim(read_file("/proc/sys/kernel/random/boot_id"))); }

}  // namespace holm::runtime
