// Where this installation keeps its things, and the names of its kernel objects.
#pragma once

#include <cstdint>
#include <string>

namespace holm::runtime {

inline constexpr const char* kDefaultStateDirectory = "/var/lib/holm";
inline constexpr const char* kDefaultRunDirectory = "/run/holm";

struct Paths {
  std::string state = kDefaultStateDirectory;
  std::string run = kDefaultRunDirectory;
  std::string host_config = "/etc/holm/holm.toml";

  // "" for the default run directory, else four hexadecimal digits of its hash: installations live side by
  // side.
  std::string installation() const;

  std::string templates() const { return state + "/templates"; }
  std::string containers() const { return state + "/containers"; }
  std::string container(const std::string& name) const { return containers() + "/" + name; }
  std::string runtime(const std::string& name) const { return run + "/" + name; }
  // Whose lock a monitor holds for life that has taken over a container.
  std::string adoption_lock(const std::string& name) const { return runtime(name) + "/adoption.lock"; }
  std::string numbers() const { return state + "/numbers"; }
  std::string addresses() const { return state + "/addresses"; }
  std::string scope_lock() const { return state + "/scope.lock"; }
  std::string ledger() const { return state + "/ledger.db"; }

  // "holm", "holm-1a2b": the parent of all cgroups; systemd's unit has that name with ".scope".
  std::string cgroup_parent() const;
  // "holm0", "holm1a2b".
  std::string bridge() const;
  // "holm", "holm_1a2b": the nftables table.
  std::string firewall_table() const;
  // "hm7", "hm1a2b-7": the host's end of container 7's first veth pair; "hm7i1" of its second.
  std::string veth(uint32_t number, unsigned index = 0) const;
  // The number in such a name; -1 where it is not one of this installation's.
  int64_t number_of_veth(const std::string& link) const;
};

// HOLM_STATE_DIR, HOLM_RUN_DIR and HOLM_HOST_CONFIG, made absolute, or the defaults.
Paths paths_from_environment();

}  // namespace holm::runtime
