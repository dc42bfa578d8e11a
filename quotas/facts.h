// What was found out of one container at one moment; counter_table.cpp makes counters of it.
#pragma once

#include <cstdint>
#include <optional>

namespace holm::quotas {

class Group;
class GroupFiles;
struct Limits;
struct Usage;

using Fact = std::optional<uint64_t>;  // nothing where this host does not tell

// Memory in bytes, times in nanoseconds, the rest in pieces. Each is of the whole container, nested groups
// included. A limit that is nothing is no limit.
struct Facts {
  // Control groups: group_facts.cpp.
  Fact memory, memory_peak, memory_barrier, memory_limit, memory_guarantee, memory_refused;
  Fact memory_and_swap, memory_and_swap_peak;
  Fact swap, swap_peak, swap_limit, swap_refused;
  Fact kernel_memory, kernel_memory_peak;
  Fact unevictable, shared_memory, reclaimable_slab;
  Fact anonymous_memory, page_cache, inactive_files;
  Fact processes, processes_peak, processes_limit, processes_refused;  // threads count
  Fact cpu_time, throttled_time, oom_kills;
  Fact cpu_weight, cpu_cap_percent;       // 100: one CPU; no cap: 0
  Fact cpu_periods, cpu_periods_stopped;  // of a cap: in which it ran, and in which the cap stopped it
  Fact read_bytes, write_bytes, reads, writes;

  // The processes themselves: process_census.cpp, file_locks.cpp.
  Fact files, tcp_sockets, other_sockets, file_locks, private_memory, queued_signals;

  // The network namespace: network_facts.cpp.
  Fact tcp_send_buffers, tcp_receive_buffers, other_buffers, datagram_receive_buffers, firewall_rules;

  // pty_facts.cpp, disk_use.cpp
  Fact ptys, ptys_limit;
  Fact disk_bytes, disk_bytes_limit, disk_inodes, disk_inodes_limit;
};

// Each adds what a part of the kernel's answer tells: group_facts.cpp.
void add_usage_facts(const Usage& usage, Facts& facts);
void add_limit_facts(const Limits& limits, Facts& facts);
void add_group_facts(const Group& group, GroupFiles& files, Facts& facts);
// Of those only peaks and refusals, which a look at a later time still tells.
void add_lasting_group_facts(const Group& group, GroupFiles& files, Facts& facts);

}  // namespace holm::quotas
