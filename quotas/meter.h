// What the ledger keeps of a container's usage, and the kernel's counters that it is read from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace holm::quotas {

// In the order of kQuantities, and of the ledger's columns.
enum class Quantity {
  uptime,
  cpu,
  throttled,
  memory_time,
  io_read_bytes,
  io_written_bytes,
  io_reads,
  io_writes,
  net_received_bytes,
  net_sent_bytes,
  net_received_packets,
  net_sent_packets,
  oom_kills,
};

// Each is a whole number of the unit that its name ends in. Memory is kept in KiB and seconds: in bytes and
// nanoseconds, 1 TiB for 10 years would not fit 64 bits.
inline constexpr std::array<std::string_view, 13> kQuantities = {
    "uptime_ns",          "cpu_ns",           "cpu_throttled_ns",     "memory_kib_seconds",
    "io_read_bytes",      "io_written_bytes", "io_read_operations",   "io_write_operations",
    "net_received_bytes", "net_sent_bytes",   "net_received_packets", "net_sent_packets",
    "oom_kills"};

// Usage that was summed: many containers' nanoseconds of many years do not fit 64 bits.
__extension__ typedef __int128 Wide;

struct UsageSums {
  std::array<Wide, kQuantities.size()> values{};
  uint64_t memory_peak_bytes = 0;  // the most that was held at any time

  Wide& operator[](Quantity quantity) { return values[static_cast<size_t>(quantity)]; }
  Wide operator[](Quantity quantity) const { return values[static_cast<size_t>(quantity)]; }
  UsageSums& operator+=(const UsageSums& other);
  bool operator==(const UsageSums&) const = default;
};

std::string format_wide(Wide value);

// One of the kernel's counters, which only ever grows while what it belongs to lives.
struct Meter {
  Quantity quantity;
  std::string source;  // which of several: "cpu", "io 8:0", "link hm7"
  std::string life;    // what it counts for began with it at 0: never the same for two cgroups or links
  uint64_t total = 0;
};

// A resource as `holm counters` shows it, of this run.
struct CounterReading {
  std::string name;
  uint64_t held = 0;
  uint64_t peak = 0;      // the most that was held in this run
  uint64_t failures = 0;  // refusals in this run
};

}  // namespace holm::quotas
