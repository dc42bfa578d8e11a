#include "runtime/config_show.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/text.h"
#include "base/unit.h"
#include "runtime/config_keys.h"

namespace holm::runtime {

std::string toml_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04X}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

namespace {

std::string key_text(const std::string& key) {
  const bool is_bare = !key.empty() && std::ranges::all_of(key, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
  return is_bare ? key : toml_text(key);
}

std::string list(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ", ") + toml_text(text);
  return fmt::format("[{}]", out);
}

// With the largest unit that keeps the value exact: "64M", "4095".
std::string exact_text(Bytes bytes) {
  constexpr std::string_view kUnits = "KMGT";
  uint64_t value = bytes.count;
  size_t unit = 0;
  for (; unit < kUnits.size() && value != 0 && value % 1024 == 0; ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{}", value) : fmt::format("{}{}", value, kUnits[unit - 1]);
}

std::string exact_size(Bytes bytes) {
  const std::string text = exact_text(bytes);
  return parse_unsigned(text) ? text : toml_text(text);
}

// Lines of "key = value"; a section's header stands before its first line.
class TomlWriter {
 public:
  void section(std::string header) { header_ = std::move(header); }
  void line(const std::string& key, const std::string& value) {
    if (!header_.empty()) out_ += fmt::format("\n{}\n", header_);
    header_.clear();
    out_ += fmt::format("{} = {}\n", key, value);
  }
  void text(const std::string& key, std::string_view value) { line(key, toml_text(value)); }
  void boolean(const std::string& key, bool value) { line(key, value ? "true" : "false"); }
  void size(const std::string& key, const std::optional<Bytes>& value) {
    if (value) line(key, exact_size(*value));
  }
  void rate(const std::string& key, const std::optional<Bytes>& value) {
    if (value) text(key, exact_text(*value) + "/s");
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
  std::string header_;
};

void write_top(TomlWriter& toml, const ContainerSpec& spec) {
  toml.text("name", spec.name);
  if (spec.root.kind == RootKind::directory) {
    toml.text("root", spec.root.directory);
  } else if (!spec.root.template_name.empty()) {
    toml.text("template", spec.root.template_name);
  }
  toml.text("hostname", spec.hostname);
  if (spec.payload.kind == PayloadKind::command) {
    toml.line("command", list(spec.payload.arguments));
  } else if (!spec.payload.arguments.empty()) {
    toml.text("init", spec.payload.arguments.front());
  }
  toml.text("user", spec.payload.user);
  toml.text("workdir", spec.payload.workdir);
  std::string environment;
  for (const auto& [name, value] : spec.payload.environment)
    environment +=
        fmt::format("{} {} = {}", environment.empty() ? "" : ",", key_text(name), toml_text(value));
  if (!environment.empty()) toml.line("env", fmt::format("{{{} }}", environment));
  toml.boolean("autostart", spec.autostart);
  toml.line("order", fmt::format("{}", spec.order));
  toml.text("on_crash", name_of(spec.on_crash));
  toml.text("on_reboot", name_of(spec.on_reboot));
  toml.text("on_host_shutdown", name_of(spec.on_host_shutdown));
}

void write_resources(TomlWriter& toml, const quotas::Limits& limits) {
  toml.section("[cpu]");
  toml.line("weight", fmt::format("{}", limits.cpu.weight));
  toml.line("cap", fmt::format("{}", limits.cpu.cap_percent));
  if (limits.cpu.burst_percent != 0) toml.line("burst", fmt::format("{}", limits.cpu.burst_percent));
  if (limits.cpu.count) toml.line("count", fmt::format("{}", *limits.cpu.count));
  if (!limits.cpu.pin.empty()) toml.text("pin", quotas::format_cpu_set(limits.cpu.pin));
  if (!limits.cpu.nodes.empty()) toml.text("nodes", quotas::format_cpu_set(limits.cpu.nodes));
  toml.section("[memory]");
  toml.size("limit", limits.memory.limit);
  toml.size("barrier", limits.memory.barrier);
  toml.size("guarantee", limits.memory.guarantee);
  toml.size("swap", limits.memory.swap);
  toml.section("[pids]");
  if (limits.pids) toml.line("limit", fmt::format("{}", *limits.pids));
  toml.section("[io]");
  toml.line("weight", fmt::format("{}", limits.io.weight));
  toml.rate("read", limits.io.read);
  toml.rate("write", limits.io.write);
  if (limits.io.read_ops) toml.line("read_ops", fmt::format("{}", *limits.io.read_ops));
  if (limits.io.write_ops) toml.line("write_ops", fmt::format("{}", *limits.io.write_ops));
}

void write_network(TomlWriter& toml, const netsetup::NicSpec& nic) {
  toml.section("[[network]]");
  toml.text("mode", name_of(nic.mode));
  if (nic.mode != netsetup::NicMode::nat) return;
  toml.text("name", nic.name);
  if (nic.mac) toml.text("mac", netsetup::format_mac(*nic.mac));
  std::vector<std::string> addresses;
  for (const auto& address : nic.addresses) addresses.push_back(netsetup::format_interface_address(address));
  if (!addresses.empty()) toml.line("addresses", list(addresses));
}

void write_confinement(TomlWriter& toml, const ContainerSpec& spec) {
  for (const MountSpec& mount : spec.mounts) {
    toml.section("[[mount]]");
    toml.text("source", mount.source);
    toml.text("target", mount.target);
    toml.boolean("readonly", mount.readonly);
  }
  toml.section("[security]");
  toml.boolean("user_namespace", spec.security.user_namespace);
  toml.line("capabilities", list(spec.security.capabilities));
  toml.text("seccomp", spec.security.seccomp);
  toml.boolean("io_uring", spec.security.allow_io_uring);
  toml.boolean("migratable", spec.security.migratable);
  toml.section("[limits]");
  for (const auto& [name, value] : spec.resource_limits)
    toml.line(name, value == RLIM_INFINITY ? "\"unlimited\"" : fmt::format("{}", value));
}

// One key of show_defaults: its meaning as a comment, then the key, commented out where it has no default.
std::string default_lines(const ConfigKey& key) {
  const bool is_available = key.availability == Availability::now;
  const bool has_default = is_available && !key.default_value.empty();
  // In a section that is commented out as a whole ("[[mount]]"), so are its keys.
  const bool is_in_optional_section = section_of(key.path) == "mount";
  std::string out =
      fmt::format("# {}{}\n", key.meaning, is_available ? "" : " (not available in this version)");
  out += fmt::format("#   {}\n", key.allowed);
  return out + fmt::format("{}{} = {}\n", has_default && !is_in_optional_section ? "" : "#",
                           last_part(key.path), key.default_value.empty() ? key.example : key.default_value);
}

std::string default_header(const ConfigSection& section) {
  const bool is_list = section.kind == ConfigSection::Kind::list;
  // A container has an interface by default, but neither mounts nor devices.
  const bool is_there = !is_list || section.name == "network";
  const std::string header =
      is_list ? fmt::format("[[{}]]", section.name) : fmt::format("[{}]", section.name);
  return fmt::format("\n# --- {}\n{}{}\n", section.meaning, is_there ? "" : "#", header);
}

}  // namespace

std::string_view name_of(OnCrash value) {
  switch (value) {
    case OnCrash::restart:
      return "restart";
    case OnCrash::stop:
      return "stop";
    case OnCrash::destroy:
      return "destroy";
  }
  return "";
}

std::string_view name_of(OnReboot value) {
  switch (value) {
    case OnReboot::restart:
      return "restart";
    case OnReboot::stop:
      return "stop";
    case OnReboot::destroy:
      return "destroy";
  }
  return "";
}

std::string_view name_of(OnHostShutdown value) {
  return value == OnHostShutdown::stop ? "stop" : "checkpoint";
}

std::string_view name_of(netsetup::NicMode value) {
  switch (value) {
    case netsetup::NicMode::nat:
      return "nat";
    case netsetup::NicMode::host:
      return "host";
    case netsetup::NicMode::none:
      return "none";
  }
  return "";
}

std::string show_defaults() {
  std::string out =
      "# Every key of a container's config file, with its default and meaning. A line '#key = value' is a "
      "key without a\n"
      "# default; its value is an example.\n\n";
  for (const ConfigKey& key : container_keys().keys)
    if (section_of(key.path).empty()) out += default_lines(key);
  for (const ConfigSection& section : container_keys().sections) {
    out += default_header(section);
    for (const ConfigKey& key : container_keys().keys)
      if (section_of(key.path) == section.name) out += default_lines(key);
  }
  return out;
}

std::string show_spec(const ContainerSpec& spec) {
  TomlWriter toml;
  write_top(toml, spec);
  write_resources(toml, spec.limits);
  for (const netsetup::NicSpec& nic : spec.networks) write_network(toml, nic);
  write_confinement(toml, spec);
  return toml.take();
}

}  // namespace holm::runtime
