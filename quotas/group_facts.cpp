// What a container's groups tell for its counters beside usage and limits: which file has it.
#include <array>

#include "base/text.h"
#include "quotas/control_file.h"
#include "quotas/facts.h"
#include "quotas/group.h"
#include "quotas/group_files.h"
#include "quotas/group_tree.h"

namespace holm::quotas {
namespace {

// "FILE": the number in it. "FILE KEY": the number behind a key. nullptr: this version does not tell. v1's
// `total_` sums are of nested groups, too, as all of v2's are.
// Those that last are peaks and refusals.
enum class Nature { passes, lasts };
struct Source {
  Fact Facts::*fact;
  const char* controller;
  const char* v1;
  const char* v2;
  Nature nature = Nature::passes;
};
constexpr std::array<Source, 18> kSources = {{
    {&Facts::kernel_memory, "memory", "memory.kmem.usage_in_bytes", "memory.stat kernel"},
    {&Facts::kernel_memory_peak, "memory", "memory.kmem.max_usage_in_bytes", nullptr, Nature::lasts},
    {&Facts::unevictable, "memory", "memory.stat total_unevictable", "memory.stat unevictable"},
    {&Facts::shared_memory, "memory", "memory.stat total_shmem", "memory.stat shmem"},
    {&Facts::reclaimable_slab, "memory", nullptr, "memory.stat slab_reclaimable"},
    {&Facts::anonymous_memory, "memory", "memory.stat total_rss", "memory.stat anon"},
    {&Facts::page_cache, "memory", "memory.stat total_cache", "memory.stat file"},
    {&Facts::inactive_files, "memory", "memory.stat total_inactive_file", "memory.stat inactive_file"},
    {&Facts::cpu_periods, "cpu", "cpu.stat nr_periods", "cpu.stat nr_periods"},
    {&Facts::cpu_periods_stopped, "cpu", "cpu.stat nr_throttled", "cpu.stat nr_throttled"},
    // v1 counts `oom` as v2 does but shows only the kills; its memory.failcnt counts reclaim.
    {&Facts::memory_refused, "memory", "memory.oom_control oom_kill", "memory.events oom", Nature::lasts},
    {&Facts::memory_and_swap, "memory", "memory.memsw.usage_in_bytes", nullptr},
    {&Facts::memory_and_swap_peak, "memory", "memory.memsw.max_usage_in_bytes", nullptr, Nature::lasts},
    {&Facts::swap, "memory", "memory.stat total_swap", "memory.swap.current"},
    {&Facts::swap_peak, "memory", nullptr, "memory.swap.peak", Nature::lasts},
    // v1's memory.memsw.failcnt counts reclaim, too.
    {&Facts::swap_refused, "memory", nullptr, "memory.swap.events max", Nature::lasts},
    {&Facts::processes_peak, "pids", "pids.peak", "pids.peak", Nature::lasts},
    {&Facts::processes_refused, "pids", "pids.events max", nullptr, Nature::lasts},
}};

Fact read_source(GroupFiles& files, const std::string& source) {
  const size_t blank = source.find(' ');
  if (blank == std::string::npos) return files.number(source);
  return files.keyed(source.substr(0, blank), std::string_view(source).substr(blank + 1));
}

// Up to Linux 6.10 pids.events counts the forks that failed *in* a group, whichever limit it was that refused
// them; later ones have what this group's limit refused, and pids.events.local beside it.
Fact refused_processes_v2(const Group& group, GroupFiles& files) {
  if (files.text("pids.events.local")) return files.keyed("pids.events", "max");
  Fact sum;
  for (const std::string& text : read_tree(group.directory(), "pids.events"))
    if (const auto number = find_keyed(text, "max")) sum = sum.value_or(0) + *number;
  return sum;
}

void add_facts_of(const Group& group, GroupFiles& files, Facts& facts, Nature nature) {
  for (const Source& source : kSources) {
    const char* place = group.is_v2() ? source.v2 : source.v1;
    if (source.nature == nature && place && group.has(source.controller))
      facts.*source.fact = read_source(files, place);
  }
}

}  // namespace

void add_usage_facts(const Usage& usage, Facts& facts) {
  if (usage.memory) facts.memory = usage.memory->count;
  if (usage.memory_peak) facts.memory_peak = usage.memory_peak->count;
  facts.processes = usage.pids;
  facts.oom_kills = usage.oom_kills;
  facts.cpu_time = static_cast<uint64_t>(usage.cpu_time.count());
  if (usage.life.throttled != 0) facts.throttled_time = static_cast<uint64_t>(usage.throttled_time.count());
  if (usage.life.io != 0) {
    DeviceIo sum;
    for (const DeviceIo& io : usage.io) {
      sum.read_bytes += io.read_bytes;
      sum.written_bytes += io.written_bytes;
      sum.reads += io.reads;
      sum.writes += io.writes;
    }
    facts.read_bytes = sum.read_bytes;
    facts.write_bytes = sum.written_bytes;
    facts.reads = sum.reads;
    facts.writes = sum.writes;
  }
}

void add_limit_facts(const Limits& limits, Facts& facts) {
  const auto count = [](const std::optional<Bytes>& bytes) { return bytes ? Fact(bytes->count) : Fact(); };
  facts.memory_limit = count(limits.memory.limit);
  facts.memory_barrier = count(limits.memory.barrier);
  facts.memory_guarantee = limits.memory.guarantee.value_or(Bytes{0}).count;
  facts.swap_limit = count(limits.memory.swap);
  facts.processes_limit = limits.pids;
  facts.cpu_weight = limits.cpu.weight;
  facts.cpu_cap_percent = limits.cpu.cap_percent;
}

void add_lasting_group_facts(const Group& group, GroupFiles& files, Facts& facts) {
  add_facts_of(group, files, facts, Nature::lasts);
  if (group.is_v2() && group.has("pids")) facts.processes_refused = refused_processes_v2(group, files);
}

void add_group_facts(const Group& group, GroupFiles& files, Facts& facts) {
  add_facts_of(group, files, facts, Nature::passes);
  add_lasting_group_facts(group, files, facts);
  if (group.has("memory") && facts.memory && !facts.memory_and_swap)
    facts.memory_and_swap = *facts.memory + facts.swap.value_or(0);
}

}  // namespace holm::quotas
