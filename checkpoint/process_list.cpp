#include "checkpoint/process_list.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/process_status.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kMaxCommand = 200;

// "VmRSS:	  1024 kB" -> 1024 * 1024.
uint64_t kilobytes(const std::map<std::string, std::string>& status, const char* key) {
  const auto found = status.find(key);
  if (found == status.end()) return 0;
  const auto words = split_words(found->second);
  return words.empty() ? 0 : parse_unsigned(words[0]).value_or(0) * 1024;
}

// The last number is the process's own namespace's.
int64_t inner_number(const std::map<std::string, std::string>& status, const char* key) {
  const auto found = status.find(key);
  if (found == status.end()) return 0;
  const auto words = split_words(found->second);
  return words.empty() ? 0 : static_cast<int64_t>(parse_unsigned(words.back()).value_or(0));
}

std::string command_of(pid_t pid, const std::map<std::string, std::string>& status) {
  std::string command = read_file(fmt::format("/proc/{}/cmdline", pid));
  command.resize(std::min(command.size(), kMaxCommand));
  std::ranges::replace(command, '\0', ' ');
  if (!trim(command).empty()) return printable(trim(command));
  const auto name = status.find("Name");
  return name == status.end() ? "" : fmt::format("[{}]", printable(name->second));
}

void count_files(pid_t pid, SavedProcess& process) {
  const std::string directory = fmt::format("/proc/{}/fd", pid);
  for (const std::string& name : list_directory(directory)) {
    ++process.files;
    ignore_errors([&] {  // it was closed
      if (sys::read_link(directory + "/" + name).starts_with("socket:")) ++process.sockets;
    });
  }
}

}  // namespace

std::vector<SavedProcess> describe_processes(const std::vector<pid_t>& processes) {
  std::vector<SavedProcess> described;
  std::map<int64_t, int64_t> inner_pids;  // by the host's
  std::vector<int64_t> parents;           // the host's
  for (const pid_t pid : processes) {
    ignore_errors([&] {  // it ended
      const auto status = read_process_status(fmt::format("/proc/{}", pid));
      SavedProcess process;
      process.pid = inner_number(status, "NSpid");
      process.command = command_of(pid, status);
      process.threads = static_cast<uint64_t>(inner_number(status, "Threads"));
      process.memory = kilobytes(status, "VmRSS");
      process.mapped = kilobytes(status, "VmSize");
      count_files(pid, process);
      inner_pids[pid] = process.pid;
      parents.push_back(inner_number(status, "PPid"));
      described.push_back(std::move(process));
    });
  }
  for (size_t i = 0; i < described.size(); ++i)
    if (const auto parent = inner_pids.find(parents[i]); parent != inner_pids.end())
      described[i].parent = parent->second;
  // What was executed from outside has its parent there, and is no part of a checkpoint.
  std::erase_if(described,
                [](const SavedProcess& process) { return process.pid != 1 && process.parent == 0; });
  std::ranges::sort(described, {}, &SavedProcess::pid);
  return described;
}

}  // namespace holm::checkpoint
