// Block devices, as limits on disk I/O name them.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace holm::quotas {

struct DeviceNumber {
  unsigned major = 0;
  unsigned minor = 0;
  auto operator<=>(const DeviceNumber&) const = default;
};
std::string format_device_number(DeviceNumber number);  // "254:0"
std::optional<DeviceNumber> parse_device_number(std::string_view text);

struct BlockDevice {
  DeviceNumber number;
  std::string name;       // "vda"; empty where only the number is known
  std::string scheduler;  // "bfq", "none"; empty where it has none of its own
  bool operator==(const BlockDevice&) const = default;
};

struct IoDevices {
  // What rates are set on: whole disks, as the kernel refuses partitions; loop devices and what their files
  // lie on; of dm and md only the device itself, as a rate on its parts would be another one.
  std::vector<BlockDevice> limited;
  // What stands at the bottom, where a scheduler shares by weight: of dm and md the parts.
  std::vector<BlockDevice> disks;
  bool operator==(const IoDevices&) const = default;
};

}  // namespace holm::quotas
