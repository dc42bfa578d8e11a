// to_json: apart from the rest because the JSON library is slow to compile.
#include <nlohmann/json.hpp>

#include "runtime/config_show.h"

namespace holm::runtime {
namespace {

using Json = nlohmann::ordered_json;

Json size(const std::optional<Bytes>& bytes) { return bytes ? Json(bytes->count) : Json(nullptr); }

template <class Number>
Json number(const std::optional<Number>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json payload(const PayloadSpec& payload) {
  const bool is_command = payload.kind == PayloadKind::command;
  return {{"kind", is_command ? "command" : "init"},
          {"arguments", payload.arguments},
          {"user", payload.user},
          {"workdir", payload.workdir},
          {"env", Json(payload.environment.empty() ? Json::object() : Json(payload.environment))}};
}

Json network(const netsetup::NicSpec& nic) {
  Json addresses = Json::array();
  for (const auto& address : nic.addresses) addresses.push_back(netsetup::format_interface_address(address));
  const bool has_interface = nic.mode == netsetup::NicMode::nat;
  return {{"mode", name_of(nic.mode)},
          {"name", has_interface ? Json(nic.name) : Json(nullptr)},
          {"mac", nic.mac ? Json(netsetup::format_mac(*nic.mac)) : Json(nullptr)},
          {"addresses", addresses}};
}

Json resource_limits(const isolation::ResourceLimits& limits) {
  Json out = Json::object();
  for (const auto& [name, value] : limits)
    out[name] = value == RLIM_INFINITY ? Json("unlimited") : Json(value);
  return out;
}

Json number_list(const quotas::CpuSet& numbers) {
  return numbers.empty() ? Json(nullptr) : Json(quotas::format_cpu_set(numbers));
}

Json quotas_of(const quotas::Limits& limits) {
  return {{"cpu",
           {{"weight", limits.cpu.weight},
            {"cap", limits.cpu.cap_percent},
            {"burst", limits.cpu.burst_percent},
            {"count", number(limits.cpu.count)},
            {"pin", number_list(limits.cpu.pin)},
            {"nodes", number_list(limits.cpu.nodes)}}},
          {"memory",
           {{"limit", size(limits.memory.limit)},
            {"barrier", size(limits.memory.barrier)},
            {"guarantee", size(limits.memory.guarantee)},
            {"swap", size(limits.memory.swap)}}},
          {"pids", {{"limit", number(limits.pids)}}},
          {"io",
           {{"weight", limits.io.weight},
            {"read", size(limits.io.read)},
            {"write", size(limits.io.write)},
            {"read_ops", number(limits.io.read_ops)},
            {"write_ops", number(limits.io.write_ops)}}}};
}

Json security_of(const isolation::SecuritySpec& security) {
  return {{"user_namespace", security.user_namespace},
          {"capabilities", security.capabilities},
          {"seccomp", security.seccomp},
          {"io_uring", security.allow_io_uring},
          {"migratable", security.migratable}};
}

}  // namespace

std::string to_json(const ContainerSpec& spec) {
  const bool is_directory = spec.root.kind == RootKind::directory;
  Json out = {{"name", spec.name},
              {"template", is_directory ? Json(nullptr) : text_or_null(spec.root.template_name)},
              {"root", is_directory ? Json(spec.root.directory) : Json(nullptr)},
              {"hostname", spec.hostname},
              {"payload", payload(spec.payload)},
              {"autostart", spec.autostart},
              {"order", spec.order},
              {"on_crash", name_of(spec.on_crash)},
              {"on_reboot", name_of(spec.on_reboot)},
              {"on_host_shutdown", name_of(spec.on_host_shutdown)}};
  out.update(quotas_of(spec.limits));
  out["network"] = Json::array();
  for (const auto& nic : spec.networks) out["network"].push_back(network(nic));
  out["mount"] = Json::array();
  for (const MountSpec& mount : spec.mounts)
    out["mount"].push_back(
        {{"source", mount.source}, {"target", mount.target}, {"readonly", mount.readonly}});
  out["security"] = security_of(spec.security);
  out["limits"] = resource_limits(spec.resource_limits);
  // Text from the command line need not be UTF-8.
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace holm::runtime
