// Which fact stands in which column: the whole policy of the counters.
#include <unistd.h>

#include <algorithm>
#include <array>

#include "quotas/counters.h"

namespace holm::quotas {
namespace {

enum class Unit { pieces, bytes, pages, nanoseconds };
enum class Kind { gauge, total };

struct Row {
  const char* resource;
  Unit unit = Unit::pieces;
  Kind kind = Kind::gauge;
  // A column without a fact: maxheld is what is held, failcnt 0, barrier and limit unlimited.
  Fact Facts::*held = nullptr;
  Fact Facts::*maxheld = nullptr;
  Fact Facts::*barrier = nullptr;
  Fact Facts::*limit = nullptr;
  Fact Facts::*failcnt = nullptr;
  const char* leaves_out = "";
};

// OpenVZ's rows in its order (its kernel's dummy rows are not shown there either). Where each fact comes from
// on cgroup v1 and v2 stands in group_facts.cpp's table, and in the files that facts.h names. No row's
// failcnt has what the kernel calls failcnt or `max` for memory: those count reclaim, after which most
// allocations succeed.
constexpr std::array<Row, 30> kRows = {{
    {.resource = "kmemsize",
     .unit = Unit::bytes,
     .held = &Facts::kernel_memory,
     .maxheld = &Facts::kernel_memory_peak,
     .leaves_out = "kernel memory has no limit of its own: it counts in physpages, too; v2 has no peak"},
    {.resource = "lockedpages",
     .unit = Unit::pages,
     .held = &Facts::unevictable,
     .leaves_out =
         "pages that are locked but not there yet; has pages of ramfs, which cannot be evicted either"},
    {.resource = "privvmpages",
     .unit = Unit::pages,
     .held = &Facts::private_memory,
     .leaves_out = "no limit: upstream kernels limit what is used (physpages), not what is asked for"},
    {.resource = "shmpages",
     .unit = Unit::pages,
     .held = &Facts::shared_memory,
     .leaves_out = "what is swapped out; no limit: it counts in physpages"},
    {.resource = "numproc",
     .held = &Facts::processes,
     .maxheld = &Facts::processes_peak,
     .barrier = &Facts::processes_limit,
     .limit = &Facts::processes_limit,
     .failcnt = &Facts::processes_refused,
     .leaves_out = "RLIMIT_NPROC's refusals"},
    {.resource = "physpages",
     .unit = Unit::pages,
     .held = &Facts::memory,
     .maxheld = &Facts::memory_peak,
     .barrier = &Facts::memory_barrier,
     .limit = &Facts::memory_limit,
     .failcnt = &Facts::memory_refused,
     .leaves_out = "on v1 refusals that killed nobody: that kernel does not tell them"},
    {.resource = "vmguarpages",
     .unit = Unit::pages,
     .barrier = &Facts::memory_guarantee,
     .leaves_out = "held: OpenVZ accounts it in oomguarpages; v1 has no guarantee"},
    {.resource = "oomguarpages",
     .unit = Unit::pages,
     .held = &Facts::memory_and_swap,
     .maxheld = &Facts::memory_and_swap_peak,
     .failcnt = &Facts::oom_kills,
     .leaves_out = "no guarantee against the host's own shortage: upstream kernels know none"},
    {.resource = "numtcpsock",
     .held = &Facts::tcp_sockets,
     .leaves_out = "TIME_WAIT, half-open connections; no limit"},
    {.resource = "numflock",
     .held = &Facts::file_locks,
     .leaves_out = "processes that wait for a lock; no limit"},
    {.resource = "numpty",
     .held = &Facts::ptys,
     .barrier = &Facts::ptys_limit,
     .limit = &Facts::ptys_limit,
     .leaves_out = "instances of devpts that the payload mounted elsewhere"},
    {.resource = "numsiginfo",
     .held = &Facts::queued_signals,
     .leaves_out = "without a user namespace: the kernel counts by user, and root is the host's then"},
    {.resource = "tcpsndbuf",
     .unit = Unit::bytes,
     .held = &Facts::tcp_send_buffers,
     .leaves_out = "no limit: it counts in physpages"},
    {.resource = "tcprcvbuf",
     .unit = Unit::bytes,
     .held = &Facts::tcp_receive_buffers,
     .leaves_out = "no limit: it counts in physpages"},
    {.resource = "othersockbuf",
     .unit = Unit::bytes,
     .held = &Facts::other_buffers,
     .leaves_out = "sockets other than UDP and UNIX ones; no limit"},
    {.resource = "dgramrcvbuf",
     .unit = Unit::bytes,
     .held = &Facts::datagram_receive_buffers,
     .leaves_out = "datagrams of UNIX sockets, which stand in othersockbuf until they are read; no limit"},
    {.resource = "numothersock", .held = &Facts::other_sockets, .leaves_out = "no limit"},
    {.resource = "dcachesize",
     .unit = Unit::bytes,
     .held = &Facts::reclaimable_slab,
     .leaves_out = "v1 does not tell; has other caches that can be reclaimed"},
    {.resource = "numfile",
     .held = &Facts::files,
     .leaves_out =
         "files that are only mapped or on their way through a socket; no limit but nofile of each process"},
    {.resource = "numiptent",
     .held = &Facts::firewall_rules,
     .leaves_out = "rules of the old iptables-legacy; no limit"},
    {.resource = "swappages",
     .unit = Unit::pages,
     .held = &Facts::swap,
     .maxheld = &Facts::swap_peak,
     .barrier = &Facts::swap_limit,
     .limit = &Facts::swap_limit,
     .failcnt = &Facts::swap_refused,
     .leaves_out = "v1 counts no refusals and no peak"},

    // Holm's own; a row of which nothing is known is not shown.
    {.resource = "cputime", .unit = Unit::nanoseconds, .kind = Kind::total, .held = &Facts::cpu_time},
    {.resource = "throttledtime",
     .unit = Unit::nanoseconds,
     .kind = Kind::total,
     .held = &Facts::throttled_time,
     .leaves_out = "what nested groups' own caps did"},
    {.resource = "oomkills", .kind = Kind::total, .held = &Facts::oom_kills, .failcnt = &Facts::oom_kills},
    {.resource = "diskread",
     .unit = Unit::bytes,
     .kind = Kind::total,
     .held = &Facts::read_bytes,
     .leaves_out = "what the page cache answered; a device on top of another one (LVM) may count in both"},
    {.resource = "diskwrite",
     .unit = Unit::bytes,
     .kind = Kind::total,
     .held = &Facts::write_bytes,
     .leaves_out = "on v1 what is written back later, which is the host's there"},
    {.resource = "diskreadops", .kind = Kind::total, .held = &Facts::reads},
    {.resource = "diskwriteops", .kind = Kind::total, .held = &Facts::writes},
    {.resource = "diskspace",
     .unit = Unit::bytes,
     .held = &Facts::disk_bytes,
     .barrier = &Facts::disk_bytes_limit,
     .limit = &Facts::disk_bytes_limit,
     .leaves_out = "the template, [[mount]]s"},
    {.resource = "diskinodes",
     .held = &Facts::disk_inodes,
     .barrier = &Facts::disk_inodes_limit,
     .limit = &Facts::disk_inodes_limit,
     .leaves_out = "the template, [[mount]]s"},
}};
constexpr size_t kRowsOfOpenVz = 21;

// Per interface: netrx.eth0, ...
struct TrafficRow {
  const char* resource;
  Unit unit;
  uint64_t Traffic::*value;
};
constexpr std::array<TrafficRow, 4> kTrafficRows = {{
    {"netrx", Unit::bytes, &Traffic::received_bytes},
    {"nettx", Unit::bytes, &Traffic::sent_bytes},
    {"netrxpackets", Unit::pieces, &Traffic::received_packets},
    {"nettxpackets", Unit::pieces, &Traffic::sent_packets},
}};

std::string_view without_interface(std::string_view resource) {
  return resource.substr(0, resource.find('.'));
}

const Row* find_row(std::string_view resource) {
  const auto* found =
      std::find_if(kRows.begin(), kRows.end(), [&](const Row& row) { return resource == row.resource; });
  return found == kRows.end() ? nullptr : found;
}

const TrafficRow* find_traffic_row(std::string_view resource) {
  const auto* found = std::find_if(kTrafficRows.begin(), kTrafficRows.end(), [&](const TrafficRow& row) {
    return without_interface(resource) == row.resource;
  });
  return found == kTrafficRows.end() ? nullptr : found;
}

uint64_t in_unit(uint64_t value, Unit unit) {
  static const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return std::min(unit == Unit::pages ? value / page : value, kUnlimited);
}

uint64_t value_of(const Facts& facts, Fact Facts::*fact, Unit unit, uint64_t otherwise) {
  return fact && facts.*fact ? in_unit(*(facts.*fact), unit) : otherwise;
}

Counter make_counter(const Row& row, const Facts& facts) {
  Counter counter;
  counter.resource = row.resource;
  counter.held = value_of(facts, row.held, row.unit, 0);
  counter.maxheld = std::max(counter.held, value_of(facts, row.maxheld, row.unit, 0));
  counter.limit = value_of(facts, row.limit, row.unit, kUnlimited);
  // A container that is never slowed down meets its limit first.
  counter.barrier = std::min(counter.limit, value_of(facts, row.barrier, row.unit, kUnlimited));
  counter.failcnt = value_of(facts, row.failcnt, Unit::pieces, 0);
  return counter;
}

}  // namespace

Counters make_counters(const Facts& facts, const std::vector<Traffic>& traffic) {
  Counters counters;
  for (size_t i = 0; i < kRows.size(); ++i)
    if (i < kRowsOfOpenVz || facts.*kRows[i].held) counters.push_back(make_counter(kRows[i], facts));
  for (const Traffic& link : traffic)
    for (const TrafficRow& row : kTrafficRows) {
      const uint64_t value = in_unit(link.*row.value, row.unit);
      counters.push_back({std::string(row.resource) + "." + link.interface, value, value});
    }
  return counters;
}

bool is_total(std::string_view resource) {
  const Row* row = find_row(resource);
  return row ? row->kind == Kind::total : find_traffic_row(resource) != nullptr;
}

bool is_known(std::string_view resource, const Facts& facts) {
  const Row* row = find_row(resource);
  if (!row) return find_traffic_row(resource) != nullptr;
  constexpr std::array<Fact Facts::*Row::*, 5> kColumns = {&Row::held, &Row::maxheld, &Row::barrier,
                                                           &Row::limit, &Row::failcnt};
  return std::ranges::any_of(
      kColumns, [&](auto column) { return row->*column && (facts.*(row->*column)).has_value(); });
}

bool is_peak_by_looks(std::string_view resource, const Facts& facts) {
  const Row* row = find_row(resource);
  return row && row->kind == Kind::gauge && !(row->maxheld && facts.*(row->maxheld));
}

const char* unit_of(std::string_view resource) {
  constexpr std::array<const char*, 4> kNames = {"pieces", "bytes", "pages", "ns"};
  const Row* row = find_row(resource);
  const TrafficRow* traffic = find_traffic_row(resource);
  const Unit unit = row ? row->unit : traffic ? traffic->unit : Unit::pieces;
  return kNames[static_cast<size_t>(unit)];
}

}  // namespace holm::quotas
