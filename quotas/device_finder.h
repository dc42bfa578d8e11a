// Finds the block devices below a path: what the limits on disk I/O are set on.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "quotas/block_device.h"
#include "quotas/mountinfo.h"

namespace holm::quotas {

// What the kernel says of a path.
struct PathFacts {
  DeviceNumber device;                    // of its file system; major 0: none that files lie on
  uint64_t mount = 0;                     // MountEntry::id
  std::optional<DeviceNumber> is_device;  // it is a block device itself
};

// Where facts come from; tests have others.
struct DeviceFacts {
  std::string sys = "/sys";
  std::vector<MountEntry> mounts;
  std::function<std::optional<PathFacts>(const std::string&)> look_at;  // nothing where there is no such path
};
DeviceFacts host_device_facts();

// Collects the devices below one path after the other. Whatever stacks there are, each device is met once,
// and no path is followed without end.
class DeviceFinder {
 public:
  explicit DeviceFinder(DeviceFacts facts) : facts_(std::move(facts)) {}

  // False where there is none: memory, a network file system, no such path.
  bool add(const std::string& path) { return add_path(path, Use::rates, 0); }
  // "tmpfs": the file system on which a path lies; empty where that is not known.
  std::string file_system(const std::string& path) const;
  const IoDevices& devices() const { return devices_; }

 private:
  enum class Use { rates, weight };

  bool add_path(const std::string& path, Use use, int depth);
  bool add_mount(const MountEntry& mount, Use use, int depth);
  bool add_layers(const MountEntry& overlay, Use use, int depth);
  bool add_device(DeviceNumber number, Use use, int depth);
  bool add_below(DeviceNumber number, Use use, int depth);
  DeviceNumber whole_disk(DeviceNumber number) const;
  std::vector<DeviceNumber> btrfs_members(DeviceNumber number) const;
  BlockDevice describe(DeviceNumber number) const;
  std::string directory(DeviceNumber number) const;
  const MountEntry* find_mount(uint64_t id) const;

  DeviceFacts facts_;
  IoDevices devices_;
  std::set<std::pair<DeviceNumber, Use>> seen_devices_;
  std::set<std::pair<uint64_t, Use>> seen_mounts_;
};

}  // namespace holm::quotas
