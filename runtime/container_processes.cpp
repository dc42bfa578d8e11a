#include "runtime/container_processes.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/process_stat.h"
#include "base/text.h"
#include "runtime/host_side.h"
#include "runtime/observe.h"

namespace holm::runtime {
namespace {

// The words after "KEY:" in /proc/PID/status.
std::vector<std::string> status_words(const std::string& status, std::string_view key) {
  const std::string wanted = fmt::format("\n{}:", key);
  const size_t at = status.find(wanted);
  if (at == std::string::npos) return {};
  const size_t begin = at + wanted.size();
  return split_words(std::string_view(status).substr(begin, status.find('\n', begin) - begin));
}

uint64_t number_at(const std::vector<std::string>& words, size_t index) {
  return index < words.size() ? parse_unsigned(words[index]).value_or(0) : 0;
}

std::string command_of(pid_t pid, const std::string& status) {
  std::string command = read_file_if_exists(fmt::format("/proc/{}/cmdline", pid)).value_or("");
  while (!command.empty() && command.back() == '\0') command.pop_back();
  std::replace(command.begin(), command.end(), '\0', ' ');
  if (!command.empty()) return command;
  const size_t end = status.find('\n');
  return fmt::format("[{}]", status.substr(6, end - 6));  // "Name:\t..."
}

void add_times(const ProcessStat& stat, ContainerProcess& process) {
  process.cpu_seconds =
      static_cast<double>(stat.field(14) + stat.field(15)) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  process.last_cpu = static_cast<unsigned>(stat.field(39));
}

std::optional<ContainerProcess> describe(pid_t pid, const StoredContainer& container) {
  try {
    const std::string status = read_file(fmt::format("/proc/{}/status", pid));
    ContainerProcess process;
    process.pid = pid;
    const auto pids = status_words(status, "NSpid");
    process.container_pid = pids.empty() ? 0 : static_cast<pid_t>(parse_unsigned(pids.back()).value_or(0));
    const auto host_uid = static_cast<uid_t>(number_at(status_words(status, "Uid"), 1));
    const uid_t first = container.config.spec.security.user_namespace ? container.identity.ids.first : 0;
    process.uid = host_uid - first;
    const auto state = status_words(status, "State");
    if (!state.empty()) process.state = state[0][0];
    process.resident = Bytes{number_at(status_words(status, "VmRSS"), 0) * 1024};
    const auto stat = read_process_stat(pid);
    if (!stat) return std::nullopt;
    add_times(*stat, process);
    process.command = command_of(pid, status);
    return process;
  } catch (const Error&) {
    return std::nullopt;  // it has ended
  }
}

}  // namespace

std::vector<ContainerProcess> container_processes(const Installation& installation,
                                                  const StoredContainer& container) {
  const Observation seen = observe(installation.paths, quotas::detect_cgroup_layout(), container.name);
  if (!seen.has_init()) throw not_running(container.name);
  std::vector<ContainerProcess> processes;
  auto pids = container_cgroup(installation.paths, container.identity.number)->processes();
  std::sort(pids.begin(), pids.end());
  for (const pid_t pid : pids) {
    if (auto process = describe(pid, container)) processes.push_back(std::move(*process));
  }
  return processes;
}

}  // namespace holm::runtime
