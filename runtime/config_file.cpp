#include "runtime/config_file.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/text.h"
#include "runtime/config_document.h"
#include "runtime/config_reader.h"

namespace holm::runtime {
namespace {

using netsetup::NicMode;

constexpr std::string_view kSubject = "config";

template <class Value, class Target>
void assign(const std::optional<Value>& value, Target& target) {
  if (value) target = static_cast<Target>(*value);
}

void read_root(SectionReader& top, RootSpec& root) {
  const auto template_name = top.text("template");
  const auto directory = top.text("root");
  if (template_name) root = {RootKind::template_overlay, *template_name, ""};
  if (directory) root = {RootKind::directory, "", *directory};
  if (top.has("template") && top.has("root"))
    top.note("root", "'template' and 'root' contradict each other",
             "a container has one root file system; remove one");
  if (template_name && template_name->empty()) top.refuse("template", "\"\"");
  if (!top.has("template") && !top.has("root") && !top.has("image"))
    top.note("template", "no root file system: one of 'template' and 'root' is needed",
             "add template = \"busybox\"");
}

void read_payload(SectionReader& top, PayloadSpec& payload) {
  const auto command = top.texts("command");
  const auto init = top.text("init");
  if (command) payload.kind = PayloadKind::command;
  if (command) payload.arguments = *command;
  if (init && !command) payload.arguments = {*init};
  if (top.has("command") && top.has("init"))
    top.note("init", "'command' and 'init' contradict each other",
             "command runs one program, init a whole system; remove one");
  assign(top.text("user"), payload.user);
  assign(top.text("workdir"), payload.workdir);
  assign(top.text_table("env"), payload.environment);
}

void read_lifecycle(SectionReader& top, ContainerSpec& spec) {
  assign(top.boolean("autostart"), spec.autostart);
  assign(top.whole_number("order"), spec.order);
  assign(top.choice<OnCrash>(
             "on_crash",
             {{"restart", OnCrash::restart}, {"stop", OnCrash::stop}, {"destroy", OnCrash::destroy}}),
         spec.on_crash);
  assign(top.choice<OnReboot>(
             "on_reboot",
             {{"restart", OnReboot::restart}, {"stop", OnReboot::stop}, {"destroy", OnReboot::destroy}}),
         spec.on_reboot);
  assign(top.choice<OnHostShutdown>("on_host_shutdown", {{"stop", OnHostShutdown::stop},
                                                         {"checkpoint", OnHostShutdown::checkpoint}}),
         spec.on_host_shutdown);
}

// "0-2,5"
std::optional<quotas::CpuSet> read_number_list(SectionReader& reader, std::string_view key) {
  const auto text = reader.text(key);
  if (!text) return std::nullopt;
  constexpr size_t kLongest = 1024;  // "0-9999,0-9999,..." would keep us busy
  const auto numbers = text->size() <= kLongest ? quotas::parse_cpu_set(*text) : std::nullopt;
  if (numbers && !numbers->empty()) return numbers;
  reader.refuse(key, fmt::format("\"{}\"", printable(text->substr(0, 80))));
  return std::nullopt;
}

void read_cpu(SectionReader cpu, quotas::CpuLimits& limits) {
  assign(cpu.whole_number("weight"), limits.weight);
  assign(cpu.whole_number("cap"), limits.cap_percent);
  assign(cpu.whole_number("burst"), limits.burst_percent);
  if (const auto count = cpu.whole_number("count")) limits.count = static_cast<unsigned>(*count);
  assign(read_number_list(cpu, "pin"), limits.pin);
  assign(read_number_list(cpu, "nodes"), limits.nodes);
}

void read_memory(SectionReader memory, quotas::MemoryLimits& limits) {
  limits.limit = memory.size("limit");
  limits.barrier = memory.size("barrier");
  limits.guarantee = memory.size("guarantee");
  limits.swap = memory.size("swap");
}

void read_io(SectionReader io, quotas::IoLimits& limits) {
  assign(io.whole_number("weight"), limits.weight);
  limits.read = io.rate("read");
  limits.write = io.rate("write");
  if (const auto ops = io.whole_number("read_ops")) limits.read_ops = static_cast<uint64_t>(*ops);
  if (const auto ops = io.whole_number("write_ops")) limits.write_ops = static_cast<uint64_t>(*ops);
}

netsetup::NicSpec read_network(SectionReader& network, size_t index) {
  netsetup::NicSpec nic;
  nic.name = fmt::format("eth{}", index);
  assign(network.choice<NicMode>("mode",
                                 {{"nat", NicMode::nat}, {"host", NicMode::host}, {"none", NicMode::none}},
                                 {"bridge", "routed", "macvlan", "phys"}),
         nic.mode);
  assign(network.text("name"), nic.name);
  if (nic.mode != NicMode::nat && network.has("name"))
    network.note("name", "'network.name' has a meaning only with mode \"nat\"");
  if (const auto mac = network.text("mac")) {
    nic.mac = netsetup::parse_mac(*mac);
    if (!nic.mac) network.refuse("mac", fmt::format("\"{}\"", printable(mac->substr(0, 80))));
  }
  const auto addresses = network.texts("addresses");
  for (size_t i = 0; addresses && i < addresses->size(); ++i) {
    const std::string& text = (*addresses)[i];
    const auto address = netsetup::parse_interface_address(text);
    if (address) {
      nic.addresses.push_back(*address);
    } else {
      network.note(fmt::format("addresses[{}]", i),
                   fmt::format("'network.addresses' holds \"{}\", which is no address with prefix length",
                               printable(text.substr(0, 80))),
                   "write it as \"10.0.3.10/24\" or \"fd00::10/64\"");
      // Keeps the places of the others right for the checks.
      nic.addresses.emplace_back();
    }
  }
  return nic;
}

void read_networks(SectionReader& top, std::vector<netsetup::NicSpec>& networks) {
  for (SectionReader& network : top.sections("network"))
    networks.push_back(read_network(network, networks.size()));
  if (networks.empty() && !top.has("network")) networks.emplace_back();
}

void read_mounts(SectionReader& top, std::vector<MountSpec>& mounts) {
  for (SectionReader& reader : top.sections("mount")) {
    MountSpec mount;
    for (const std::string_view key : {"source", "target"})
      if (!reader.has(key)) reader.note(key, fmt::format("a [[mount]] lacks '{}'", key));
    assign(reader.text("source"), mount.source);
    assign(reader.text("target"), mount.target);
    assign(reader.boolean("readonly"), mount.readonly);
    mounts.push_back(mount);
  }
}

void read_security(SectionReader reader, isolation::SecuritySpec& security) {
  assign(reader.boolean("user_namespace"), security.user_namespace);
  assign(reader.texts("capabilities"), security.capabilities);
  assign(reader.text("seccomp"), security.seccomp);
  assign(reader.boolean("io_uring"), security.allow_io_uring);
  assign(reader.boolean("migratable"), security.migratable);
}

void read_limits(SectionReader reader, isolation::ResourceLimits& limits) {
  for (const std::string& name : reader.keys())
    if (const auto value = reader.limit(name))
      limits[name] = *value == UINT64_MAX ? RLIM_INFINITY : rlim_t{*value};
}

void read_sections(SectionReader& top, ContainerSpec& spec) {
  for (SectionReader& cpu : top.sections("cpu")) read_cpu(cpu, spec.limits.cpu);
  for (SectionReader& memory : top.sections("memory")) read_memory(memory, spec.limits.memory);
  for (SectionReader& pids : top.sections("pids"))
    if (const auto limit = pids.whole_number("limit")) spec.limits.pids = static_cast<uint64_t>(*limit);
  for (SectionReader& io : top.sections("io")) read_io(io, spec.limits.io);
  top.sections("disk");  // nothing in it is available yet: reading refuses its keys by name
  read_networks(top, spec.networks);
  read_mounts(top, spec.mounts);
  for (SectionReader& security : top.sections("security")) read_security(security, spec.security);
  for (SectionReader& limits : top.sections("limits")) read_limits(limits, spec.resource_limits);
}

// What the checks say about values whose own reading already failed (they then see a default) would only
// confuse.
void add_check_problems(ContainerSpec& spec, const HostFacts& host, bool name_is_set, ReadContext& context) {
  std::vector<Position> failed;
  for (const ConfigProblem& problem : context.problems) failed.push_back(problem.at);
  for (SpecProblem& problem : find_problems(spec, host)) {
    const Position at = context.place_of(problem.place);
    if (at.line != 0 && std::ranges::find(failed, at) != failed.end()) continue;
    if (problem.place == "name" && !name_is_set)
      problem.hint = "the name comes from the file's name; add name = \"...\" to it";
    context.problems.push_back({at, std::move(problem.message), std::move(problem.hint)});
  }
}

}  // namespace

ContainerSpec parse_config(std::string_view text, const std::string& file_name,
                           const std::string& default_name, const HostFacts& host) {
  const ConfigValue document = parse_toml(text, file_name, kSubject);
  ReadContext context{container_keys(), {}, {}};
  SectionReader top(document, "", "", context);
  ContainerSpec spec;
  spec.name = top.text("name").value_or(default_name);
  spec.hostname = top.text("hostname").value_or(spec.name);
  read_root(top, spec.root);
  read_payload(top, spec.payload);
  read_lifecycle(top, spec);
  read_sections(top, spec);
  add_check_problems(spec, host, top.has("name"), context);
  throw_problems(std::move(context.problems), file_name, kSubject);
  return spec;
}

ConfigFile load_config(const std::string& path, const HostFacts& host) {
  ConfigFile file;
  file.path = path;
  file.text = read_config_file(path, "config file");
  std::string name = path.substr(path.rfind('/') + 1);
  if (name.ends_with(".toml")) name.resize(name.size() - 5);
  file.spec = parse_config(file.text, path, name, host);
  return file;
}

}  // namespace holm::runtime
