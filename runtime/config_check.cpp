#include "runtime/config_check.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "base/unit.h"
#include "runtime/config_keys.h"
#include "runtime/config_values.h"

namespace holm::runtime {
namespace {

using netsetup::InterfaceAddress;
using netsetup::NicMode;
using netsetup::NicSpec;

class SpecChecker {
 public:
  SpecChecker(const ContainerSpec& spec, const HostFacts& host) : spec_(spec), host_(host) {}

  std::vector<SpecProblem> check() {
    check_names();
    check_root();
    check_payload();
    check_cpu();
    check_memory();
    check_pids();
    check_io();
    check_networks();
    check_addresses();
    check_mounts();
    check_security();
    return std::move(problems_);
  }

 private:
  void note(std::string place, std::string message, std::string hint = "") {
    problems_.push_back({std::move(place), std::move(message), std::move(hint)});
  }

  // "'hostname' must be a host name (...), not "a b"", with the words of the key table.
  void refuse(const std::string& place, std::string_view path, const std::string& given,
              std::string hint = "") {
    note(place, fmt::format("'{}' must be {}, not {}", path, container_keys().find(path)->allowed, given),
         std::move(hint));
  }

  void check_range(const std::string& path, uint64_t value) {
    const ConfigKey& key = *container_keys().find(path);
    if (value < static_cast<uint64_t>(key.min) || value > static_cast<uint64_t>(key.max))
      refuse(path, path, fmt::format("{}", value));
  }

  void check_names() {
    if (!is_dns_label(spec_.name)) refuse("name", "name", quoted(spec_.name));
    // A host name that is the name by default would only repeat the name's fault.
    if (spec_.hostname != spec_.name && !is_hostname(spec_.hostname))
      refuse("hostname", "hostname", quoted(spec_.hostname));
    if (spec_.order < 0 || spec_.order > container_keys().find("order")->max)
      refuse("order", "order", fmt::format("{}", spec_.order));
    if (spec_.on_host_shutdown == OnHostShutdown::checkpoint && !spec_.security.migratable)
      note("on_host_shutdown", "'on_host_shutdown = \"checkpoint\"' needs 'security.migratable = true'");
  }

  void check_root() {
    if (spec_.root.kind == RootKind::template_overlay) {
      // An empty name is a root that is missing: check_spec and parse_config say so in words of their own.
      if (!spec_.root.template_name.empty() && !is_dns_label(spec_.root.template_name))
        refuse("template", "template", quoted(spec_.root.template_name));
      return;
    }
    const std::string& directory = spec_.root.directory;
    if (!is_absolute_path(directory) || !normal_path(directory) || normal_path(directory) == "/")
      refuse("root", "root", quoted(directory));
  }

  void check_payload() {
    const PayloadSpec& payload = spec_.payload;
    const std::string key = payload.kind == PayloadKind::command ? "command" : "init";
    if (payload.arguments.empty() || payload.arguments.front().empty()) {
      note(key, fmt::format("'{}' must name a program", key));
    } else if (payload.kind == PayloadKind::init && !is_absolute_path(payload.arguments.front())) {
      refuse("init", "init", quoted(payload.arguments.front()));
    }
    for (const std::string& argument : payload.arguments)
      if (argument.find('\0') != std::string::npos) note(key, fmt::format("'{}' holds a NUL byte", key));
    if (!is_user(payload.user)) refuse("user", "user", quoted(payload.user));
    if (!is_absolute_path(payload.workdir)) refuse("workdir", "workdir", quoted(payload.workdir));
    for (const auto& [name, value] : payload.environment) {
      if (!is_environment_name(name))
        note("env." + name,
             fmt::format("{} is not a name for 'env': it must not be empty nor hold '=' or NUL",
                         quoted(name)));
      if (value.find('\0') != std::string::npos)
        note("env." + name, fmt::format("'env.{}' holds a NUL byte", printable(name)));
    }
  }

  // The CPUs that the container may use; nothing where that is the unknown whole of the host.
  std::optional<size_t> allowed_cpus() const {
    const quotas::CpuLimits& cpu = spec_.limits.cpu;
    if (cpu.count) return *cpu.count;
    if (!cpu.pin.empty()) return cpu.pin.size();
    if (!host_.online_cpus.empty()) return host_.online_cpus.size();
    return std::nullopt;
  }

  void check_cpu() {
    const quotas::CpuLimits& cpu = spec_.limits.cpu;
    check_range("cpu.weight", cpu.weight);
    check_range("cpu.cap", cpu.cap_percent);
    if (cpu.count) check_range("cpu.count", *cpu.count);
    check_cpu_host();
    if (cpu.count && !cpu.pin.empty() && cpu.pin.size() < *cpu.count)
      note("cpu.pin",
           fmt::format("'cpu.pin' names {} CPU{}, fewer than 'cpu.count' ({})", cpu.pin.size(),
                       cpu.pin.size() == 1 ? "" : "s", *cpu.count),
           "pin more CPUs, or lower the count");
    const auto allowed = allowed_cpus();
    if (allowed && cpu.cap_percent > *allowed * 100)
      note("cpu.cap",
           fmt::format("'cpu.cap' is {} percent, more than {} CPU{} can give ({})", cpu.cap_percent, *allowed,
                       *allowed == 1 ? "" : "s", *allowed * 100),
           "the cap is in percent of one CPU; 0 means none");
    check_range("cpu.burst", cpu.burst_percent);
    if (cpu.burst_percent > cpu.cap_percent)
      note("cpu.burst",
           cpu.cap_percent == 0
               ? "'cpu.burst' has no meaning without 'cpu.cap'"
               : fmt::format("'cpu.burst' ({}) is above 'cpu.cap' ({})", cpu.burst_percent, cpu.cap_percent),
           "a burst is what the cap left unused: at most as much as the cap");
  }

  void check_cpu_host() {
    const quotas::CpuLimits& cpu = spec_.limits.cpu;
    if (host_.online_cpus.empty()) return;
    if (cpu.count && *cpu.count > host_.online_cpus.size())
      note("cpu.count", fmt::format("'cpu.count' is {}, but this host has {} CPU{}", *cpu.count,
                                    host_.online_cpus.size(), host_.online_cpus.size() == 1 ? "" : "s"));
    check_online("cpu.pin", "CPU", cpu.pin, host_.online_cpus);
    if (!host_.online_nodes.empty()) check_online("cpu.nodes", "NUMA node", cpu.nodes, host_.online_nodes);
  }

  void check_online(const std::string& path, std::string_view what, const quotas::CpuSet& named,
                    const quotas::CpuSet& online) {
    quotas::CpuSet missing;
    std::ranges::set_difference(named, online, std::inserter(missing, missing.end()));
    if (!missing.empty())
      note(path,
           fmt::format("'{}' names {} {}, which this host does not have online", path, what,
                       quotas::format_cpu_set(missing)),
           fmt::format("online: {}", quotas::format_cpu_set(online)));
  }

  void check_size(const std::string& path, const std::optional<Bytes>& size) {
    const ConfigKey& key = *container_keys().find(path);
    if (size &&
        (size->count < static_cast<uint64_t>(key.min) || size->count > static_cast<uint64_t>(key.max)))
      refuse(path, path, describe_bytes(*size));
  }

  void check_memory() {
    const quotas::MemoryLimits& memory = spec_.limits.memory;
    check_size("memory.limit", memory.limit);
    check_size("memory.barrier", memory.barrier);
    check_size("memory.guarantee", memory.guarantee);
    check_size("memory.swap", memory.swap);
    check_below("memory.barrier", memory.barrier, "memory.limit", memory.limit);
    check_below("memory.guarantee", memory.guarantee, "memory.limit", memory.limit);
    if (host_.memory.count > 0 && memory.guarantee && *memory.guarantee > host_.memory)
      note("memory.guarantee",
           fmt::format("'memory.guarantee' ({}) is more than this host has",
                       describe_bytes(*memory.guarantee)),
           fmt::format("it has {}", describe_bytes(host_.memory)));
    if (!memory.limit) check_below("memory.guarantee", memory.guarantee, "memory.barrier", memory.barrier);
  }

  void check_below(const std::string& path, const std::optional<Bytes>& value, std::string_view bound_path,
                   const std::optional<Bytes>& bound) {
    if (value && bound && *value > *bound)
      note(path, fmt::format("'{}' ({}) is above '{}' ({})", path, describe_bytes(*value), bound_path,
                             describe_bytes(*bound)));
  }

  void check_pids() {
    if (spec_.limits.pids) check_range("pids.limit", *spec_.limits.pids);
    for (const auto& [name, value] : spec_.resource_limits)
      if (isolation::resource_limit_number(name) < 0)
        note("limits." + name, fmt::format("this host knows no resource limit {}", quoted(name)));
  }

  void check_io() {
    const quotas::IoLimits& io = spec_.limits.io;
    check_range("io.weight", io.weight);
    check_size("io.read", io.read);
    check_size("io.write", io.write);
    if (io.read_ops) check_range("io.read_ops", *io.read_ops);
    if (io.write_ops) check_range("io.write_ops", *io.write_ops);
  }

  void check_networks() {
    std::set<std::string> names;
    std::vector<netsetup::MacAddress> macs;
    if (spec_.networks.empty())
      note("network", "'network' has no entry", "for no network write mode = \"none\" in a [[network]]");
    for (size_t i = 0; i < spec_.networks.size(); ++i) {
      const NicSpec& nic = spec_.networks[i];
      const std::string place = fmt::format("network[{}]", i);
      if (nic.mode != NicMode::nat) {
        check_mode_alone(nic, place);
        continue;
      }
      if (!is_interface_name(nic.name)) refuse(place + ".name", "network.name", quoted(nic.name));
      if (!names.insert(nic.name).second)
        note(place + ".name", fmt::format("two interfaces have the name {}", quoted(nic.name)));
      if (!nic.mac) continue;
      if (!is_unicast(*nic.mac))
        refuse(place + ".mac", "network.mac", quoted(netsetup::format_mac(*nic.mac)));
      if (std::ranges::find(macs, *nic.mac) != macs.end())
        note(place + ".mac",
             fmt::format("two interfaces have the MAC address {}", netsetup::format_mac(*nic.mac)));
      macs.push_back(*nic.mac);
    }
  }

  // "host" and "none" describe the whole network of the container, not an interface.
  void check_mode_alone(const NicSpec& nic, const std::string& place) {
    const std::string_view mode = nic.mode == NicMode::host ? "host" : "none";
    if (spec_.networks.size() > 1)
      note(place + ".mode", fmt::format("'network.mode = \"{}\"' excludes other interfaces", mode));
    for (const auto& [key, is_set] :
         {std::pair{".mac", nic.mac.has_value()}, std::pair{".addresses", !nic.addresses.empty()}})
      if (is_set) note(place + key, fmt::format("'network{}' has no meaning with mode \"{}\"", key, mode));
  }

  void check_addresses() {
    std::vector<InterfaceAddress> seen;
    for (size_t i = 0; i < spec_.networks.size(); ++i) {
      const NicSpec& nic = spec_.networks[i];
      for (size_t j = 0; j < nic.addresses.size(); ++j) {
        if (nic.addresses[j].family == 0) continue;  // was no address, and refused where it was read
        check_address(nic, nic.addresses[j], fmt::format("network[{}].addresses[{}]", i, j), seen);
        seen.push_back(nic.addresses[j]);
      }
    }
  }

  void check_address(const NicSpec& nic, const InterfaceAddress& address, const std::string& place,
                     const std::vector<InterfaceAddress>& seen) {
    const std::string shown = netsetup::format_interface_address(address);
    if (const std::string reason = why_no_interface_address(address); !reason.empty())
      note(place, fmt::format("'network.addresses': {} {}", shown, reason));
    const auto is_same = [&](const InterfaceAddress& other) {
      return other.family == address.family && other.bytes == address.bytes;
    };
    if (std::ranges::any_of(seen, is_same)) note(place, fmt::format("the address {} is given twice", shown));
    const auto& network = address.family == AF_INET ? host_.nat_network : host_.nat_network6;
    if (nic.mode == NicMode::nat && network && !netsetup::is_in_network(address, *network))
      note(place, fmt::format("the address {} lies outside of the bridge's subnet {}", shown,
                              netsetup::format_interface_address(*network)));
  }

  void check_mounts() {
    std::set<std::string> targets;
    for (size_t i = 0; i < spec_.mounts.size(); ++i) {
      const MountSpec& mount = spec_.mounts[i];
      const std::string place = fmt::format("mount[{}]", i);
      if (!is_absolute_path(mount.source)) refuse(place + ".source", "mount.source", quoted(mount.source));
      if (!is_mount_target(mount.target)) {
        refuse(place + ".target", "mount.target", quoted(mount.target));
      } else if (!targets.insert(*normal_path(mount.target)).second) {
        note(place + ".target", fmt::format("two mounts have the target {}", quoted(mount.target)));
      }
    }
  }

  void check_security() {
    const isolation::SecuritySpec& security = spec_.security;
    if (security.seccomp != "default")
      note("security.seccomp",
           fmt::format("'security.seccomp = {}' is not available in this version", quoted(security.seccomp)),
           "only \"default\" is");
    std::set<int> seen;
    for (size_t i = 0; i < security.capabilities.size(); ++i) {
      const std::string& text = security.capabilities[i];
      const std::string place = fmt::format("security.capabilities[{}]", i);
      const bool has_sign = text.starts_with('+') || text.starts_with('-');
      const int number = has_sign && text.find('\0') == std::string::npos
                             ? isolation::capability_number(text.substr(1))
                             : -1;
      if (!has_sign) {
        refuse(place, "security.capabilities", quoted(text), hint_for_capability(text));
      } else if (number < 0) {
        note(place, fmt::format("'security.capabilities' holds {}, which is no capability", quoted(text)),
             hint_for_capability(text));
      } else if (!seen.insert(number).second) {
        note(place, fmt::format("'security.capabilities' names {} twice", quoted(text.substr(1))));
      }
    }
  }

  const ContainerSpec& spec_;
  const HostFacts& host_;
  std::vector<SpecProblem> problems_;
};

}  // namespace

std::vector<SpecProblem> find_problems(const ContainerSpec& spec, const HostFacts& host) {
  return SpecChecker(spec, host).check();
}

void check_spec(const ContainerSpec& spec, const HostFacts& host) {
  std::vector<SpecProblem> problems = find_problems(spec, host);
  if (spec.root.kind == RootKind::template_overlay && spec.root.template_name.empty())
    problems.push_back({"template", "no root file system: one of 'template' and 'root' is needed", ""});
  if (problems.empty()) return;
  Error error = usage_error(problems.front().message);
  if (!problems.front().hint.empty()) error.hint(problems.front().hint);
  for (size_t i = 1; i < problems.size(); ++i) error.also(problems[i].message);
  throw error;
}

}  // namespace holm::runtime
