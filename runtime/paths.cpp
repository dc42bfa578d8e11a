#include "runtime/paths.h"

#include <fmt/core.h>

#include <cstdlib>
#include <filesystem>

#include "base/text.h"

namespace holm::runtime {
namespace {

// FNV-1a: stable over builds and hosts, which std::hash is not.
uint32_t fnv1a(const std::string& text) {
  uint32_t hash = 2166136261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

std::string from_environment(const char* variable, const char* otherwise) {
  const char* value = std::getenv(variable);
  if (!value || !*value) return otherwise;
  std::string path = std::filesystem::absolute(value).lexically_normal();
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

std::string Paths::installation() const {
  if (run == kDefaultRunDirectory) return "";
  return fmt::format("{:04x}", fnv1a(run) & 0xffff);
}

std::string Paths::cgroup_parent() const {
  return installation().empty() ? "holm" : "holm-" + installation();
}
std::string Paths::bridge() const { return "holm" + (installation().empty() ? "0" : installation()); }
std::string Paths::firewall_table() const {
  return installation().empty() ? "holm" : "holm_" + installation();
}

std::string Paths::veth(uint32_t number, unsigned index) const {
  const std::string name =
      installation().empty() ? fmt::format("hm{}", number) : fmt::format("hm{}-{}", installation(), number);
  return index == 0 ? name : fmt::format("{}i{}", name, index);
}

int64_t Paths::number_of_veth(const std::string& link) const {
  const std::string prefix = installation().empty() ? "hm" : "hm" + installation() + "-";
  if (!link.starts_with(prefix)) return -1;
  const std::string_view rest = std::string_view(link).substr(prefix.size());
  const size_t end = rest.find('i');
  if (end != std::string_view::npos && !parse_unsigned(rest.substr(end + 1))) return -1;
  const auto number = parse_unsigned(rest.substr(0, end));
  return number && *number <= UINT32_MAX ? static_cast<int64_t>(*number) : -1;
}

Paths paths_from_environment() {
  Paths paths;
  paths.state = from_environment("HOLM_STATE_DIR", kDefaultStateDirectory);
  paths.run = from_environment("HOLM_RUN_DIR", kDefaultRunDirectory);
  paths.host_config = from_environment("HOLM_HOST_CONFIG", "/etc/holm/holm.toml");
  return paths;
}

}  // namespace holm::runtime
