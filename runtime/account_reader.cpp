#include "runtime/account_reader.h"

#include <fmt/core.h>

#include <ctime>

#include "base/error.h"
#include "quotas/facts.h"
#include "runtime/state.h"

namespace holm::runtime {
namespace {

using quotas::LedgerSample;
using quotas::Quantity;

constexpr int64_t kSecond = 1'000'000'000;

int64_t now_ns(clockid_t clock) {
  timespec now = {};
  ::clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * kSecond + now.tv_nsec;
}

std::string life_of(const std::string& boot_id, uint64_t group) {
  return fmt::format("{}/{}", boot_id, group);
}

void add_cgroup_meters(LedgerSample& sample, const quotas::Usage& usage) {
  const auto add = [&](Quantity quantity, std::string source, uint64_t group, uint64_t total) {
    if (group != 0)
      sample.meters.push_back({quantity, std::move(source), life_of(sample.boot_id, group), total});
  };
  const auto& lives = usage.life;
  add(Quantity::cpu, "cpu", lives.cpu, static_cast<uint64_t>(usage.cpu_time.count()));
  add(Quantity::throttled, "cpu", lives.throttled, static_cast<uint64_t>(usage.throttled_time.count()));
  add(Quantity::oom_kills, "memory", lives.memory, usage.oom_kills);
  for (const quotas::DeviceIo& io : usage.io) {
    const std::string source = "io " + io.device;
    add(Quantity::io_read_bytes, source, lives.io, io.read_bytes);
    add(Quantity::io_written_bytes, source, lives.io, io.written_bytes);
    add(Quantity::io_reads, source, lives.io, io.reads);
    add(Quantity::io_writes, source, lives.io, io.writes);
  }
  if (lives.memory == 0) return;
  if (usage.memory) sample.memory_held = usage.memory->count;
  if (usage.memory_peak) sample.memory_peak = usage.memory_peak->count;
  sample.memory_life = life_of(sample.boot_id, lives.memory);
}

void add_link_meters(LedgerSample& sample, const std::vector<LinkTraffic>& links) {
  for (const LinkTraffic& link : links) {
    const std::string source = "link " + link.link, life = fmt::format("{}/{}", sample.boot_id, link.index);
    sample.meters.push_back({Quantity::net_received_bytes, source, life, link.traffic.received_bytes});
    sample.meters.push_back({Quantity::net_sent_bytes, source, life, link.traffic.sent_bytes});
    sample.meters.push_back({Quantity::net_received_packets, source, life, link.traffic.received_packets});
    sample.meters.push_back({Quantity::net_sent_packets, source, life, link.traffic.sent_packets});
  }
}

// The life of init, as far as it is known: of one that ended while nobody watched it is not known when.
void add_run(AccountReading& reading, const State& state, std::optional<int64_t> ended_ns) {
  LedgerSample& sample = reading.sample;
  if (state.init.pid <= 0 || state.boot_id != sample.boot_id) return;
  quotas::RunClock run;
  run.id = fmt::format("{}/{}/{}", state.boot_id, state.init.pid, state.init.start_time);
  run.begin_ns = start_ns(state.init);
  run.until_ns = ended_ns.value_or(sample.boottime_ns);
  run.has_ended = ended_ns.has_value();
  if (!ended_ns) {
    // The clock was read before: what lives now lived then.
    if (!is_alive(state.init)) return;
    reading.is_orphaned = !is_alive(state.monitor);
  }
  sample.run = run;
}

}  // namespace

int64_t boottime_now_ns() { return now_ns(CLOCK_BOOTTIME); }

std::string counters_life(const std::string& boot_id, const quotas::Usage& usage) {
  return usage.life.cpu == 0 ? "" : life_of(boot_id, usage.life.cpu);
}

std::vector<quotas::CounterReading> counter_readings(const quotas::Counters& counters) {
  std::vector<quotas::CounterReading> readings;
  for (const quotas::Counter& counter : counters)
    if (counter.maxheld > 0 || counter.failcnt > 0)
      readings.push_back({counter.resource, counter.held, counter.maxheld, counter.failcnt});
  return readings;
}

std::map<std::string, AccountReader::Known> AccountReader::known(const Paths& paths,
                                                                 std::span<const std::string> names) {
  std::map<std::string, Known> all;
  for (const std::string& name : names)
    ignore_errors([&] {  // `read` tells why
      std::string stamp = identity_stamp(paths, name);
      all[name] = {std::move(stamp), load_identity(paths, name)};
    });
  return all;
}

// The identities are read before the links, and looked at again at the end of each reading: who had its
// number all the time also had its links and groups.
AccountReader::AccountReader(const Paths& paths, std::span<const std::string> names)
    : paths_(paths),
      layout_(quotas::detect_cgroup_layout()),
      boot_id_(current_boot_id()),
      known_(known(paths, names)),
      links_(paths) {}

std::vector<std::string> AccountReader::uuids() const {
  std::vector<std::string> uuids;
  for (const auto& [name, known] : known_) uuids.push_back(known.identity.uuid);
  return uuids;
}

std::optional<AccountReading> AccountReader::read(const std::string& name,
                                                  std::optional<int64_t> ended_ns) const {
  const auto place = known_.find(name);
  if (place == known_.end()) {
    load_identity(paths_, name);  // throws what was wrong with it
    return std::nullopt;          // or it was made just now: the next sample counts it all
  }
  const Identity& identity = place->second.identity;
  const auto cgroup = quotas::make_cgroup(layout_, paths_.cgroup_parent(), identity.number);
  AccountReading reading;
  LedgerSample& sample = reading.sample;
  sample.uuid = identity.uuid;
  sample.name = name;
  sample.boot_id = boot_id_;
  quotas::Facts facts;
  const quotas::Usage usage = cgroup->look(quotas::Cgroup::Depth::lasting, facts);
  const std::vector<LinkTraffic> links = links_.of(identity.number);
  add_cgroup_meters(sample, usage);
  add_link_meters(sample, links);
  sample.boottime_ns = boottime_now_ns();
  sample.walltime_ns = now_ns(CLOCK_REALTIME);
  std::vector<std::string> interfaces;
  ignore_errors([&] {  // a damaged record tells no time
    const auto state = read_state(paths_, name);
    if (!state) return;
    interfaces = state->interfaces;
    add_run(reading, *state, ended_ns);
  });
  sample.counters_life = counters_life(boot_id_, usage);
  if (!sample.counters_life.empty())
    sample.counters = counter_readings(
        quotas::make_counters(facts, interface_traffic(paths_, identity.number, links, interfaces)));
  if (sample.meters.empty() || identity_stamp(paths_, name) != place->second.stamp) return std::nullopt;
  return reading;
}

}  // namespace holm::runtime
