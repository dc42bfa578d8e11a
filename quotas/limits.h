// What a container may use of the shared kernel: the resource slice of the spec.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/unit.h"
#include "quotas/block_device.h"

namespace holm::quotas {

inline constexpr uint32_t kMinWeight = 1;
inline constexpr uint32_t kMaxWeight = 65536;
inline constexpr uint32_t kDefaultWeight = 256;  // as in Xen's credit scheduler

inline constexpr uint32_t kMaxIoWeight = 10000;
inline constexpr uint32_t kDefaultIoWeight = 100;  // as the kernel's

using CpuSet = std::set<unsigned>;

struct CpuLimits {
  uint32_t weight = kDefaultWeight;
  uint32_t cap_percent = 0;       // percent of one CPU, 0: none
  uint32_t burst_percent = 0;     // of one CPU: what it may save up of its cap and use later, at most the cap
  std::optional<unsigned> count;  // CPUs that it may use
  CpuSet pin;                     // empty: any CPU
  CpuSet nodes;                   // NUMA nodes that its memory comes from; empty: any
  bool operator==(const CpuLimits&) const = default;
};

struct MemoryLimits {
  std::optional<Bytes> limit;
  std::optional<Bytes> barrier;
  std::optional<Bytes> guarantee;
  std::optional<Bytes> swap;
  bool operator==(const MemoryLimits&) const = default;
};

// The rates are of bytes and operations per second, and hold for each of the devices by itself.
struct IoLimits {
  uint32_t weight = kDefaultIoWeight;
  std::optional<Bytes> read;
  std::optional<Bytes> write;
  std::optional<uint64_t> read_ops;
  std::optional<uint64_t> write_ops;
  // Not from the config: found where the container's files lie (runtime/container_limits.h). Without them
  // there is nothing to set rates on.
  IoDevices devices;
  bool operator==(const IoLimits&) const = default;
};

struct Limits {
  CpuLimits cpu;
  MemoryLimits memory;
  IoLimits io;
  std::optional<uint64_t> pids;
  bool operator==(const Limits&) const = default;
};

inline constexpr unsigned kMaxCpu = 8191;  // no kernel is built for more than 8192

// "0-2,5" <-> {0,1,2,5}, as in cpuset(7). Nothing where the text is not such a list, is empty or exceeds
// kMaxCpu.
std::optional<CpuSet> parse_cpu_set(std::string_view text);
std::string format_cpu_set(const CpuSet& cpus);

// The CPUs of this host that are online (/sys/devices/system/cpu/online).
CpuSet online_cpus();
// The NUMA nodes that are online (/sys/devices/system/node/online); node 0 where the kernel knows none.
CpuSet online_nodes();
// All memory of the host; zero where the kernel does not tell.
Bytes host_memory();

// The CPUs for cpuset.cpus: `count` of the pinned (or online) ones, chosen by `number` so that containers
// spread; empty where neither count nor pin is set. Throws where a pinned CPU is not online or there are
// fewer than `count`.
CpuSet choose_cpus(const CpuLimits& limits, const CpuSet& online, uint32_t number);

// The keys of [io] that are set: "io.weight, io.read"; empty where none is.
std::string io_keys(const IoLimits& limits);
// "io.read has no effect", "io.read, io.write have no effect": how warnings begin.
std::string without_effect(const std::string& keys);

// Weights keep their ratios (DESIGN, "Resources").
uint64_t cpu_weight_v2(uint32_t weight);  // clamp(round(w*100/256), 1, 10000)
uint64_t cpu_shares_v1(uint32_t weight);  // 4*w

}  // namespace holm::quotas
