#include "checkpoint/external_objects.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/process_stat.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/mountinfo.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kMaxMountinfo = 16 << 20;
constexpr std::array<std::string_view, 6> kNodes = {"null", "zero", "full", "random", "urandom", "tty"};
constexpr std::string_view kNodePrefix = "node-";
constexpr std::string_view kBindPrefix = "bind-";
constexpr std::string_view kConsole = "console";

bool is_node(std::string_view name) { return std::ranges::find(kNodes, name) != kNodes.end(); }

// "node-null" for the host's /dev/null, wherever it is mounted.
std::optional<ExternalMount> node_mount(const quotas::MountEntry& mount) {
  if (mount.type != "devtmpfs" || mount.root.size() < 2 || !is_node(std::string_view(mount.root).substr(1)))
    return std::nullopt;
  return ExternalMount{fmt::format("{}{}", kNodePrefix, mount.root.substr(1)), mount.root.substr(1)};
}

// Of the [[mount]] whose target it is, or that it was mounted below of.
std::optional<ExternalMount> bind_mount(const quotas::MountEntry& mount, const runtime::ContainerSpec& spec) {
  for (size_t i = 0; i < spec.mounts.size(); ++i) {
    const std::string& target = spec.mounts[i].target;
    if (mount.point == target) return ExternalMount{fmt::format("{}{}", kBindPrefix, i), ""};
  }
  return std::nullopt;
}

// The terminal that is mounted on /dev/console: of another devpts than the container's own.
struct ConsoleTerminal {
  dev_t number;       // its own
  dev_t file_system;  // where it is
};

dev_t device_number(const std::string& text) {
  const auto parts = split(text, ':');
  const auto number = [&](size_t i) {
    return static_cast<unsigned>(i < parts.size() ? parse_unsigned(parts[i]).value_or(0) : 0);
  };
  return ::makedev(number(0), number(1));
}

std::optional<ConsoleTerminal> find_console(const std::vector<quotas::MountEntry>& mounts) {
  const auto mount = std::ranges::find_if(
      mounts, [](const auto& entry) { return entry.point == "/dev/console" && entry.type == "devpts"; });
  if (mount == mounts.end()) return std::nullopt;
  const auto index = parse_unsigned(std::string_view(mount->root).substr(1));
  if (!index) return std::nullopt;
  constexpr unsigned kFirstMajor = 136, kMinors = 256;  // admin-guide/devices.txt: Unix98 PTY slaves
  const auto number = static_cast<unsigned>(*index);
  return ConsoleTerminal{::makedev(kFirstMajor + number / kMinors, number % kMinors),
                         device_number(mount->device)};
}

dev_t controlling_terminal(pid_t pid) {
  const auto stat = read_process_stat(pid);
  return stat ? stat->field(7) : 0;
}

bool has_opened(pid_t pid, dev_t number) {
  const std::string directory = fmt::format("/proc/{}/fd", pid);
  for (const std::string& name : list_directory(directory)) {
    struct statx status = {};  // without a question to a FUSE server of the container's
    if (::statx(AT_FDCWD, (directory + "/" + name).c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &status) == 0 &&
        S_ISCHR(status.stx_mode) && ::makedev(status.stx_rdev_major, status.stx_rdev_minor) == number)
      return true;
  }
  return false;
}

// Of a process whose terminal is the console.
bool is_opened_as_own(const std::vector<pid_t>& processes, const ConsoleTerminal& console) {
  return std::ranges::any_of(processes, [&](pid_t pid) {
    bool found = false;
    ignore_errors([&] {  // it ended
      found = controlling_terminal(pid) == console.number && has_opened(pid, kOwnTerminalDevice);
    });
    return found;
  });
}

std::vector<std::string> find_pipes(pid_t init) {
  std::vector<std::string> pipes;
  for (int number = 0; number < 3; ++number) {
    ignore_errors([&] {  // it has closed that one
      const std::string link = sys::read_link(fmt::format("/proc/{}/fd/{}", init, number));
      if (link.starts_with("pipe:") && std::ranges::find(pipes, link) == pipes.end()) pipes.push_back(link);
    });
  }
  return pipes;
}

std::string terminal_key(dev_t number, dev_t file_system) {
  return fmt::format("tty[{:x}:{:x}]", number, file_system);
}

}  // namespace

ExternalObjects find_external_objects(pid_t init, const std::vector<pid_t>& processes,
                                      const runtime::ContainerSpec& spec) {
  ExternalObjects found;
  const auto mounts =
      quotas::parse_mountinfo(read_file(fmt::format("/proc/{}/mountinfo", init), kMaxMountinfo));
  found.pipes = find_pipes(init);
  const auto console = find_console(mounts);
  if (console) {
    found.console = terminal_key(console->number, console->file_system);
    found.options.push_back(found.console);
  }
  const bool is_own = console && is_opened_as_own(processes, *console);
  std::set<std::string> keys;
  for (const quotas::MountEntry& mount : mounts) {
    std::optional<ExternalMount> external = node_mount(mount);
    if (external && is_own && mount.root == "/tty")
      found.options.push_back(terminal_key(kOwnTerminalDevice, device_number(mount.device)));
    if (!external) external = bind_mount(mount, spec);
    if (!external && console && mount.type == "devpts" && device_number(mount.device) == console->file_system)
      external = ExternalMount{std::string(kConsole), ""};
    if (!external) continue;
    found.options.push_back(fmt::format("mnt[{}]:{}", mount.point, external->key));
    if (keys.insert(external->key).second) found.mounts.push_back(*external);
  }
  return found;
}

std::string source_of(const ExternalMount& mount, const std::string& console, const std::string& binds,
                      size_t bind_count) {
  const std::string_view key = mount.key;
  if (key == kConsole) return console;
  if (key.starts_with(kNodePrefix) && is_node(key.substr(kNodePrefix.size())))
    return fmt::format("/dev/{}", key.substr(kNodePrefix.size()));
  if (key.starts_with(kBindPrefix))
    if (const auto number = parse_unsigned(key.substr(kBindPrefix.size())); number && *number < bind_count)
      return fmt::format("{}/{}", binds, *number);
  throw Error(fmt::format("the checkpoint has a mount '{}' from outside, which no container gets",
                          shortened(mount.key)));
}

}  // namespace holm::checkpoint
