#include "quotas/io_control.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/control_file.h"
#include "quotas/group_tree.h"

namespace holm::quotas {
namespace {

// --- rates: four for each device

enum Column : size_t { kRead, kWrite, kReadOps, kWriteOps, kColumns };

struct ColumnNames {
  const char* key;
  const char* v2;  // within io.max
  const char* v1;  // a file of its own
};
constexpr std::array<ColumnNames, kColumns> kNames = {
    {{"io.read", "rbps", "blkio.throttle.read_bps_device"},
     {"io.write", "wbps", "blkio.throttle.write_bps_device"},
     {"io.read_ops", "riops", "blkio.throttle.read_iops_device"},
     {"io.write_ops", "wiops", "blkio.throttle.write_iops_device"}}};

using Rates = std::array<std::optional<uint64_t>, kColumns>;
using RatesOfDevices = std::map<DeviceNumber, Rates>;

Rates rates_of(const IoLimits& limits) {
  const auto count = [](const std::optional<Bytes>& bytes) {
    return bytes ? std::optional(bytes->count) : std::nullopt;
  };
  return {count(limits.read), count(limits.write), limits.read_ops, limits.write_ops};
}

std::string keys_of(const Rates& rates) {
  std::vector<std::string> keys;
  for (size_t column = 0; column < kColumns; ++column)
    if (rates[column]) keys.emplace_back(kNames[column].key);
  return join(keys, ", ");
}

// "254:0 rbps=1048576 wbps=max riops=max wiops=max"
std::string v2_line(DeviceNumber device, const Rates& rates) {
  std::string line = format_device_number(device);
  for (size_t column = 0; column < kColumns; ++column)
    line +=
        fmt::format(" {}={}", kNames[column].v2, rates[column] ? fmt::format("{}", *rates[column]) : "max");
  return line;
}

// One line of a file whose columns begin at `first`: named ones of v2, or the only one of a v1 file.
void read_line(const std::string& line, size_t first, RatesOfDevices& found) {
  const std::vector<std::string> words = split_words(line);
  const auto device = words.empty() ? std::nullopt : parse_device_number(words[0]);
  if (!device) return;
  Rates& rates = found[*device];
  for (size_t i = 1; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    const std::string name = equals == std::string::npos ? "" : words[i].substr(0, equals);
    const auto value = parse_unsigned(std::string_view(words[i]).substr(name.empty() ? 0 : equals + 1));
    for (size_t column = first; column < kColumns; ++column) {
      if (!name.empty() && name != kNames[column].v2) continue;
      rates[column] = value && (*value > 0 || !name.empty()) ? value : std::nullopt;  // v1: 0 is none
      break;
    }
  }
}

std::string rate_file(const IoGroup& group, size_t column) {
  return group.directory + '/' + (group.version == IoVersion::v2 ? "io.max" : kNames[column].v1);
}

// The devices that have a rate, and these.
RatesOfDevices read_rates(const IoGroup& group) {
  RatesOfDevices found;
  const size_t files = group.version == IoVersion::v2 ? 1 : size_t{kColumns};
  for (size_t column = 0; column < files; ++column)
    for (const std::string& line : split(read_control(rate_file(group, column)).value_or(""), '\n'))
      read_line(line, column, found);
  std::erase_if(found, [](const auto& entry) { return entry.second == Rates{}; });
  return found;
}

using Lines = std::vector<std::pair<DeviceNumber, std::string>>;
using Refusals = std::map<DeviceNumber, std::string>;

// One write(2) a line, as the kernel wants it.
void write_lines(const std::string& path, const Lines& lines, Refusals& refusals) {
  if (lines.empty()) return;
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  for (const auto& [device, line] : lines)
    if (!fd || ::write(fd.get(), (line + '\n').data(), line.size() + 1) < 0)
      refusals[device] = Error::system(fmt::format("write '{}' to '{}'", line, path)).message();
}

// `wanted` also holds the devices whose rates go.
Refusals write_rates(const IoGroup& group, const RatesOfDevices& wanted, const RatesOfDevices& held) {
  Refusals refusals;
  if (group.version == IoVersion::v2) {
    Lines lines;
    for (const auto& [device, rates] : wanted) lines.emplace_back(device, v2_line(device, rates));
    write_lines(rate_file(group, 0), lines, refusals);
    return refusals;
  }
  for (size_t column = 0; column < kColumns; ++column) {
    Lines lines;
    for (const auto& [device, rates] : wanted) {
      const auto old = held.find(device);
      if (rates[column] || (old != held.end() && old->second[column]))
        lines.emplace_back(device,
                           fmt::format("{} {}", format_device_number(device), rates[column].value_or(0)));
    }
    write_lines(rate_file(group, column), lines, refusals);
  }
  return refusals;
}

std::string describe_rates(const Rates& rates) {
  std::string text;
  for (size_t column = 0; column < kColumns; ++column)
    if (rates[column])
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", kNames[column].key, *rates[column]);
  return text.empty() ? "no rate" : text;
}

void set_rates(const IoGroup& group, const IoLimits& limits, Freshness freshness,
               std::vector<std::string>& warnings) {
  const Rates rates = rates_of(limits);
  if (freshness == Freshness::fresh && rates == Rates{}) return;
  for (size_t column = 0; column < kColumns; ++column) {
    if (!rates[column] || sys::exists(rate_file(group, column))) continue;
    warnings.push_back(without_effect(keys_of(rates)) +
                       ": this kernel cannot bound the rates of disks (CONFIG_BLK_DEV_THROTTLING is off)");
    return;
  }
  const RatesOfDevices held = read_rates(group);
  RatesOfDevices wanted;
  for (const auto& [device, old] : held) wanted[device] = {};
  if (rates != Rates{})
    for (const BlockDevice& device : limits.devices.limited) wanted[device.number] = rates;
  const Refusals refusals = write_rates(group, wanted, held);
  const RatesOfDevices now = read_rates(group);
  for (const BlockDevice& device : limits.devices.limited) {
    const auto found = now.find(device.number);
    const Rates taken = found == now.end() ? Rates{} : found->second;
    if (taken == rates) continue;
    const auto refusal = refusals.find(device.number);
    warnings.push_back(fmt::format(
        "{} on {}: {}", without_effect(keys_of(rates)), device.name,
        refusal == refusals.end() ? "the kernel holds " + describe_rates(taken) : refusal->second));
  }
}

// --- weights: one for the group

struct WeightFile {
  const char* name;
  bool IoSharers::*sharer;
  const char* prefix;  // before the number, both ways
  uint32_t min, max;
  uint32_t normal;  // of a group that was given none
};
constexpr std::array<WeightFile, 2> kV2Weights = {
    {{"io.weight", &IoSharers::cost, "default ", 1, kMaxIoWeight, 100},
     {"io.bfq.weight", &IoSharers::bfq, "", 1, 1000, 100}}};
constexpr std::array<WeightFile, 2> kV1Weights = {{{"blkio.bfq.weight", &IoSharers::bfq, "", 1, 1000, 100},
                                                   {"blkio.weight", &IoSharers::cfq, "", 10, 1000, 500}}};

const std::array<WeightFile, 2>& weight_files(IoVersion version) {
  return version == IoVersion::v2 ? kV2Weights : kV1Weights;
}

// Both "default 200" and "200", and lines of single devices below, are seen.
std::optional<uint64_t> read_weight(const std::string& path) {
  const auto words = split_words(read_control(path).value_or(""));
  if (words.size() >= 2 && words[0] == "default") return parse_unsigned(words[1]);
  return words.empty() ? std::nullopt : parse_unsigned(words[0]);
}

uint64_t weight_for(const WeightFile& file, uint32_t weight) {
  return std::clamp<uint64_t>(uint64_t{weight} * file.normal / kDefaultIoWeight, file.min, file.max);
}

void set_weight_file(const IoGroup& group, const WeightFile& file, uint32_t weight,
                     std::vector<std::string>& warnings) {
  const std::string path = group.directory + '/' + file.name;
  const uint64_t wanted = weight_for(file, weight);
  if (read_weight(path) == wanted) return;
  Refusals refusals;
  write_lines(path, {{DeviceNumber{}, fmt::format("{}{}", file.prefix, wanted)}}, refusals);
  const auto taken = read_weight(path);
  if (taken == wanted) return;
  const std::string reason = refusals.empty()
                                 ? fmt::format("'{}' holds {}, not {}", path, taken.value_or(0), wanted)
                                 : refusals.begin()->second;
  warnings.push_back("io.weight has no effect: " + reason);
}

// What shares this disk may know a smaller range of weights.
void warn_of_disk(const IoGroup& group, const IoSharers& sharers, const BlockDevice& disk, uint32_t weight,
                  std::vector<std::string>& warnings) {
  const std::string reason = why_no_weight(sharers, group.base, disk);
  if (!reason.empty()) {
    warnings.push_back(fmt::format("io.weight has no effect on {}: {}", disk.name, reason));
    return;
  }
  for (const WeightFile& file : weight_files(group.version)) {
    const uint64_t acting = weight_for(file, weight) * kDefaultIoWeight / file.normal;
    if (disk.scheduler == "bfq" && file.sharer == &IoSharers::bfq && acting != weight)
      warnings.push_back(
          fmt::format("io.weight {} acts as {} on {}: BFQ knows no more", weight, acting, disk.name));
  }
}

void set_weight(const IoGroup& group, const IoLimits& limits, Freshness freshness,
                std::vector<std::string>& warnings) {
  const bool is_asked_for = limits.weight != kDefaultIoWeight;
  if (freshness == Freshness::fresh && !is_asked_for) return;
  const IoSharers sharers = io_sharers(group.version, group.directory);
  for (const WeightFile& file : weight_files(group.version))
    if (sharers.*file.sharer) set_weight_file(group, file, limits.weight, warnings);
  if (!is_asked_for) return;
  for (const BlockDevice& disk : limits.devices.disks)
    warn_of_disk(group, sharers, disk, limits.weight, warnings);
}

// blk-iocost is enabled for each disk by itself, in the root group.
bool is_cost_enabled(const std::string& base, DeviceNumber disk) {
  for (const std::string& line : split(read_control(base + "/io.cost.qos").value_or(""), '\n')) {
    const std::vector<std::string> words = split_words(line);
    if (!words.empty() && words[0] == format_device_number(disk))
      return std::ranges::find(words, "enable=1") != words.end();
  }
  return false;
}

template <class Value>
void keep_least(std::optional<Value>& kept, const std::optional<Value>& other) {
  if (other && (!kept || *other < *kept)) kept = other;
}

}  // namespace

void lift_io_rates(const IoGroup& group) {
  std::vector<std::string> warnings;
  visit_tree(group.directory, [&](int nested) {
    set_rates({group.version, group.base, fmt::format("/proc/self/fd/{}", nested)}, {}, Freshness::used,
              warnings);
  });
}

void write_io_limits(const IoGroup& group, const IoLimits& limits, Freshness freshness,
                     std::vector<std::string>& warnings) {
  set_weight(group, limits, freshness, warnings);
  set_rates(group, limits, freshness, warnings);
}

IoLimits read_io_limits(const IoGroup& group) {
  IoLimits limits;
  for (const WeightFile& file : weight_files(group.version)) {
    const auto weight = read_weight(group.directory + '/' + file.name);
    if (!weight) continue;
    limits.weight = static_cast<uint32_t>(*weight * kDefaultIoWeight / file.normal);
    break;
  }
  Rates least;
  for (const auto& [device, rates] : read_rates(group)) {
    limits.devices.limited.push_back({device, "", ""});
    for (size_t column = 0; column < kColumns; ++column) keep_least(least[column], rates[column]);
  }
  if (least[kRead]) limits.read = Bytes{*least[kRead]};
  if (least[kWrite]) limits.write = Bytes{*least[kWrite]};
  limits.read_ops = least[kReadOps];
  limits.write_ops = least[kWriteOps];
  return limits;
}

IoSharers io_sharers(IoVersion version, const std::string& directory) {
  IoSharers sharers;
  for (const WeightFile& file : weight_files(version))
    sharers.*file.sharer = sys::exists(directory + '/' + file.name);
  return sharers;
}

std::string why_no_weight(const IoSharers& sharers, const std::string& base, const BlockDevice& disk) {
  if (sharers.bfq && disk.scheduler == "bfq") return "";
  if (sharers.cfq && disk.scheduler == "cfq") return "";
  if (sharers.cost && is_cost_enabled(base, disk.number)) return "";
  if (disk.scheduler.empty()) return "it has no scheduler that could share by weight";
  if (disk.scheduler == "bfq")
    return "its scheduler 'bfq' does not know groups (CONFIG_BFQ_GROUP_IOSCHED is off)";
  return fmt::format("its scheduler '{}' knows no weights ({}echo bfq > /sys/block/{}/queue/scheduler)",
                     disk.scheduler, sharers.bfq ? "" : "modprobe bfq; ", disk.name);
}

}  // namespace holm::quotas
