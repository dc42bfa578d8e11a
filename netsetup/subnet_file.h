// The file that remembers which subnets the nat network has.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "netsetup/nic_spec.h"

namespace holm::netsetup {

struct Subnets {
  InterfaceAddress gateway4;
  InterfaceAddress gateway6;
  bool operator==(const Subnets&) const = default;
};

std::string encode_subnets(const Subnets& subnets);
// Throws where the text is not of this format, or of a newer version of it; `path` is for the message.
Subnets decode_subnets(std::string_view text, const std::string& path);

std::optional<Subnets> load_subnets(const std::string& path);
void save_subnets(const std::string& path, const Subnets& subnets);

}  // namespace holm::netsetup
