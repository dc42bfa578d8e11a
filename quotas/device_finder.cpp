#include "quotas/device_finder.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm::quotas {
namespace {

constexpr int kDeepest = 12;         // overlays on file systems on loop devices on ...
constexpr size_t kMostDevices = 64;  // each is a line to write
constexpr size_t kMountinfo = 16 << 20;

// Without the last line's end; nothing where there is none.
std::optional<std::string> read_attribute(const std::string& path) {
  std::optional<std::string> text;
  ignore_errors([&] { text = read_file_if_exists(path); });  // the device went meanwhile
  if (text && text->ends_with('\n')) text->pop_back();
  return text;
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  ignore_errors([&] { names = list_directory(directory); });  // it is none, or went meanwhile
  return names;
}

std::optional<DeviceNumber> read_number_of(const std::string& directory) {
  const auto text = read_attribute(directory + "/dev");
  return text ? parse_device_number(*text) : std::nullopt;
}

// "none [mq-deadline] bfq": the one in brackets.
std::string chosen(std::string_view schedulers) {
  const size_t open = schedulers.find('[');
  const size_t close = schedulers.find(']');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return "";
  return std::string(schedulers.substr(open + 1, close - open - 1));
}

std::optional<PathFacts> look_at_path(const std::string& path) {
  struct statx found = {};
  if (::statx(AT_FDCWD, path.c_str(), AT_NO_AUTOMOUNT, STATX_TYPE | STATX_MNT_ID, &found) != 0)
    return std::nullopt;
  PathFacts facts{{found.stx_dev_major, found.stx_dev_minor}, found.stx_mnt_id, {}};
  if (S_ISBLK(found.stx_mode)) facts.is_device = {found.stx_rdev_major, found.stx_rdev_minor};
  return facts;
}

}  // namespace

DeviceFacts host_device_facts() {
  return {"/sys", parse_mountinfo(read_file("/proc/self/mountinfo", kMountinfo)), look_at_path};
}

std::string DeviceFinder::file_system(const std::string& path) const {
  const auto facts = facts_.look_at(path);
  const MountEntry* mount = facts ? find_mount(facts->mount) : nullptr;
  return mount ? mount->type : "";
}

const MountEntry* DeviceFinder::find_mount(uint64_t id) const {
  const auto found = std::ranges::find(facts_.mounts, id, &MountEntry::id);
  return found == facts_.mounts.end() ? nullptr : &*found;
}

bool DeviceFinder::add_path(const std::string& path, Use use, int depth) {
  const auto facts = depth <= kDeepest ? facts_.look_at(path) : std::nullopt;
  if (!facts) return false;
  if (facts->device.major != 0) return add_device(facts->device, use, depth);
  const MountEntry* mount = find_mount(facts->mount);
  return mount && add_mount(*mount, use, depth);
}

// A file system whose device number stands for no device: overlay, and those that span several devices.
bool DeviceFinder::add_mount(const MountEntry& mount, Use use, int depth) {
  if (!seen_mounts_.emplace(mount.id, use).second) return true;
  if (mount.type == "overlay") return add_layers(mount, use, depth);
  const auto source = mount.source.starts_with('/') ? facts_.look_at(mount.source) : std::nullopt;
  if (!source || !source->is_device) return false;
  bool any = false;
  for (const DeviceNumber member : btrfs_members(*source->is_device))
    any = add_device(member, use, depth + 1) || any;
  return any;
}

// The lower layers, too: what is only read comes from there. Their paths are the mounting process's, so some
// may lead nowhere.
bool DeviceFinder::add_layers(const MountEntry& overlay, Use use, int depth) {
  bool any = false;
  for (const std::string& option : overlay.super_options) {
    const size_t equals = option.find('=');
    if (equals == std::string::npos) continue;
    const std::string key = option.substr(0, equals), value = option.substr(equals + 1);
    if (key == "upperdir" || key == "lowerdir+") any = add_path(value, use, depth + 1) || any;
    if (key == "lowerdir")
      for (const std::string& layer : split(value, ':')) any = add_path(layer, use, depth + 1) || any;
  }
  return any;
}

bool DeviceFinder::add_device(DeviceNumber number, Use use, int depth) {
  number = whole_disk(number);
  if (depth > kDeepest || !sys::exists(directory(number))) return false;
  if (!seen_devices_.emplace(number, use).second) return true;
  if (use == Use::rates && devices_.limited.size() < kMostDevices)
    devices_.limited.push_back(describe(number));
  const bool has_below = add_below(number, use, depth + 1);
  const auto is_same = [&](const BlockDevice& disk) { return disk.number == number; };
  if (!has_below && devices_.disks.size() < kMostDevices && std::ranges::none_of(devices_.disks, is_same))
    devices_.disks.push_back(describe(number));
  return true;
}

bool DeviceFinder::add_below(DeviceNumber number, Use use, int depth) {
  bool any = false;
  if (const auto file = read_attribute(directory(number) + "/loop/backing_file"))
    any = add_path(*file, use, depth);
  for (const std::string& name : names_in(directory(number) + "/slaves"))
    if (const auto part = read_number_of(fmt::format("{}/slaves/{}", directory(number), name)))
      any = add_device(*part, Use::weight, depth) || any;
  return any;
}

// The entries of /sys/dev/block are links into the tree of devices, where a partition stands in its disk.
std::string DeviceFinder::directory(DeviceNumber number) const {
  return fmt::format("{}/dev/block/{}", facts_.sys, format_device_number(number));
}

DeviceNumber DeviceFinder::whole_disk(DeviceNumber number) const {
  if (!sys::exists(directory(number) + "/partition")) return number;
  return read_number_of(directory(number) + "/..").value_or(number);
}

// All devices of the btrfs that one of them is mounted by; else that one.
std::vector<DeviceNumber> DeviceFinder::btrfs_members(DeviceNumber number) const {
  const std::string all = facts_.sys + "/fs/btrfs";
  for (const std::string& file_system : names_in(all)) {
    const std::string devices = fmt::format("{}/{}/devices", all, file_system);
    std::vector<DeviceNumber> members;
    for (const std::string& name : names_in(devices))
      if (const auto member = read_number_of(fmt::format("{}/{}", devices, name))) members.push_back(*member);
    if (std::ranges::find(members, number) != members.end()) return members;
  }
  return {number};
}

BlockDevice DeviceFinder::describe(DeviceNumber number) const {
  BlockDevice device{number, "", ""};
  for (const std::string& line : split(read_attribute(directory(number) + "/uevent").value_or(""), '\n'))
    if (line.starts_with("DEVNAME=")) device.name = line.substr(8);
  device.scheduler = chosen(read_attribute(directory(number) + "/queue/scheduler").value_or(""));
  return device;
}

}  // namespace holm::quotas
