// /etc/holm/holm.toml: what the host's administrator may set for all containers. Every key is optional.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netsetup/nic_spec.h"
#include "quotas/ledger.h"

namespace holm::runtime {

inline constexpr uint32_t kIdsPerRange = 65536;  // ids of one container

struct HostSettings {
  // [ids]
  std::optional<uint32_t> first_id;  // first host id of the containers' ranges; a multiple of 65536
  uint32_t range_count = 4096;       // how many containers can have a range
  // True where the settings come from the default file, which speaks for the default installation alone.
  bool is_default_file = true;
  // [network]
  std::optional<netsetup::InterfaceAddress> subnet;  // the network's own address: 10.1.2.0/24
  std::optional<netsetup::InterfaceAddress> subnet6;
  std::vector<netsetup::InterfaceAddress> nameservers;  // empty: the host's
  quotas::LedgerRetention ledger;                       // [ledger]
};

// `file_name` is for messages.
HostSettings parse_host_settings(std::string_view text, const std::string& file_name);
// Defaults where the file is not there.
HostSettings load_host_settings(const std::string& path);

// Host ids for the containers of one installation: `range_count` ranges of 65536, from `first` on.
struct IdBlock {
  uint32_t first = 0;
  uint32_t range_count = 0;
  uint64_t end() const { return uint64_t{first} + uint64_t{range_count} * kIdsPerRange; }
};
// `installation`: Paths::installation(), "" for the default one.
IdBlock id_block(const HostSettings& settings, const std::string& installation);
uint32_t id_range_first(const HostSettings& settings, const std::string& installation);

// The owner in an /etc/subuid or /etc/subgid whose ids overlap the block; nothing where none does.
std::optional<std::string> find_subuid_overlap(const IdBlock& block, std::string_view text_of_subuid);

}  // namespace holm::runtime
