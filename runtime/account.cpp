#include "runtime/account.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <span>

#include "base/error.h"
#include "base/step.h"
#include "base/sys.h"
#include "netsetup/container_link.h"
#include "runtime/kept_samples.h"
#include "runtime/launch.h"
#include "runtime/state.h"

namespace holm::runtime {
namespace {

using quotas::LedgerSample;
using quotas::Meter;
using quotas::Quantity;

constexpr int64_t kSecond = 1'000'000'000;
// Containers a transaction: each waits for the disk once, and nobody else writes meanwhile.
constexpr size_t kBatch = 64;

int64_t now_ns(clockid_t clock) {
  timespec now = {};
  ::clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * kSecond + now.tv_nsec;
}

// --- reading

void add_cgroup_meters(LedgerSample& sample, const quotas::Usage& usage) {
  const auto life = [&](uint64_t group) { return fmt::format("{}/{}", sample.boot_id, group); };
  const auto add = [&](Quantity quantity, std::string source, uint64_t group, uint64_t total) {
    if (group != 0) sample.meters.push_back({quantity, std::move(source), life(group), total});
  };
  const auto& lives = usage.life;
  sample.counters_life = life(lives.cpu);
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
  sample.memory_life = life(lives.memory);
}

void add_link_meters(LedgerSample& sample, const Paths& paths, uint32_t number) {
  for (const LinkTraffic& link : link_traffic(paths, number)) {
    const std::string source = "link " + link.link, life = fmt::format("{}/{}", sample.boot_id, link.index);
    sample.meters.push_back({Quantity::net_received_bytes, source, life, link.traffic.received_bytes});
    sample.meters.push_back({Quantity::net_sent_bytes, source, life, link.traffic.sent_bytes});
    sample.meters.push_back({Quantity::net_received_packets, source, life, link.traffic.received_packets});
    sample.meters.push_back({Quantity::net_sent_packets, source, life, link.traffic.sent_packets});
  }
}

// The life of init, as far as it is known: of one that ended while nobody watched it is not known when.
std::optional<quotas::RunClock> read_run(const Paths& paths, const LedgerSample& sample,
                                         std::optional<int64_t> ended_ns) {
  const auto state = read_state(paths, sample.name);
  if (!state || state->init.pid <= 0 || state->boot_id != sample.boot_id) return std::nullopt;
  static const int64_t tick = kSecond / ::sysconf(_SC_CLK_TCK);
  quotas::RunClock run;
  run.id = fmt::format("{}/{}/{}", state->boot_id, state->init.pid, state->init.start_time);
  run.begin_ns = static_cast<int64_t>(state->init.start_time) * tick;
  run.until_ns = ended_ns.value_or(sample.boottime_ns);
  run.has_ended = ended_ns.has_value();
  // The clock was read before: what lives now lived then.
  if (!ended_ns && !open_process(state->init)) return std::nullopt;
  return run;
}

// --- writing

struct Sampled {
  AccountReport report;
  std::vector<std::string> kept_files;
};

// One container that cannot be read must not keep the others from being counted. What cannot be written is
// another matter: then nothing of the transaction counts.
std::optional<LedgerSample> try_to_read(const Paths& paths, const std::string& name,
                                        std::optional<int64_t> ended_ns, AccountReport& report) {
  try {
    return step("read the totals", [&] { return read_account(paths, name, ended_ns); });
  } catch (const Error& error) {
    if (container_exists(paths, name))
      report.warnings.push_back(fmt::format("container '{}': {}", name, error.message()));
    return std::nullopt;
  }
}

void add_kept(quotas::LedgerWriter& writer, const std::vector<KeptFile>& files, Sampled& sampled) {
  for (const KeptFile& file : files) {
    writer.add_kept(file.kept);
    sampled.kept_files.push_back(file.path);
  }
}

void sample_names(quotas::LedgerWriter& writer, const Paths& paths, std::span<const std::string> names,
                  std::optional<int64_t> ended_ns, Sampled& sampled) {
  for (const std::string& name : names) {
    const auto sample = try_to_read(paths, name, ended_ns, sampled.report);
    if (!sample) continue;
    // After the reading: what is kept of an earlier run was kept before the next one began.
    add_kept(writer, kept_samples(paths, sample->uuid, sampled.report.warnings), sampled);
    for (const std::string& warning : step("write the ledger", [&] { return writer.add(*sample); }))
      sampled.report.warnings.push_back(fmt::format("container '{}': {}", name, warning));
    ++sampled.report.counted;
  }
}

void write_batch(quotas::Ledger& ledger, const Paths& paths, std::span<const std::string> names,
                 std::optional<int64_t> ended_ns, AccountReport& report) {
  Sampled sampled;
  ledger.write([&](quotas::LedgerWriter& writer) {
    sampled = {};
    sample_names(writer, paths, names, ended_ns, sampled);
  });
  for (const std::string& file : sampled.kept_files) remove_kept(file);
  report.counted += sampled.report.counted;
  report.warnings.insert(report.warnings.end(), sampled.report.warnings.begin(),
                         sampled.report.warnings.end());
}

AccountReport sample_into(quotas::Ledger& ledger, const Paths& paths, const std::vector<std::string>& names,
                          std::optional<int64_t> ended_ns) {
  AccountReport report;
  const std::span<const std::string> all(names);
  for (size_t first = 0; first < all.size(); first += kBatch)
    write_batch(ledger, paths, all.subspan(first, std::min(kBatch, all.size() - first)), ended_ns, report);
  return report;
}

// Of containers that run no more, too.
void take_in_kept(quotas::Ledger& ledger, const Paths& paths, std::vector<std::string>& warnings) {
  const std::vector<KeptFile> kept = kept_samples(paths, "", warnings);
  if (kept.empty()) return;
  ledger.write([&](quotas::LedgerWriter& writer) {
    for (const KeptFile& file : kept) writer.add_kept(file.kept);
  });
  for (const KeptFile& file : kept) remove_kept(file.path);
}

}  // namespace

int64_t boottime_now_ns() { return now_ns(CLOCK_BOOTTIME); }

std::vector<LinkTraffic> link_traffic(const Paths& paths, uint32_t number) {
  std::vector<LinkTraffic> links;
  for (const netsetup::HostLink& link : netsetup::list_links(paths.veth(number))) {
    if (paths.number_of_veth(link.name) != number) continue;
    const netsetup::Traffic& host = link.traffic;
    links.push_back({link.name,
                     link.index,
                     {.received_bytes = host.sent_bytes,
                      .received_packets = host.sent_packets,
                      .sent_bytes = host.received_bytes,
                      .sent_packets = host.received_packets}});
  }
  return links;
}

// The identity is read before and after: a container that had the number all the time also had what was read.
std::optional<LedgerSample> read_account(const Paths& paths, const std::string& name,
                                         std::optional<int64_t> ended_ns) {
  const Identity identity = load_identity(paths, name);
  const auto cgroup = container_cgroup(paths, identity.number);
  if (!cgroup->exists()) return std::nullopt;
  LedgerSample sample;
  sample.uuid = identity.uuid;
  sample.name = name;
  sample.boot_id = current_boot_id();
  add_cgroup_meters(sample, cgroup->usage());
  add_link_meters(sample, paths, identity.number);
  sample.boottime_ns = boottime_now_ns();
  sample.walltime_ns = now_ns(CLOCK_REALTIME);
  ignore_errors([&] { sample.run = read_run(paths, sample, ended_ns); });  // a damaged record tells no time
  if (sample.meters.empty() || load_identity(paths, name).uuid != identity.uuid) return std::nullopt;
  return sample;
}

AccountReport sample_accounts(const Paths& paths, const std::vector<std::string>& names,
                              Durability durability, std::optional<int64_t> ended_ns) {
  auto ledger = quotas::Ledger::open(paths.ledger(), durability);
  AccountReport report = sample_into(ledger, paths, names, ended_ns);
  report.notes = ledger.notes();
  return report;
}

AccountReport sample_all_accounts(const Paths& paths) {
  if (!sys::exists(paths.state)) return {};
  auto ledger = quotas::Ledger::open(paths.ledger());
  AccountReport report = sample_into(ledger, paths, container_names(paths), std::nullopt);
  take_in_kept(ledger, paths, report.warnings);
  report.notes = ledger.notes();
  return report;
}

std::vector<std::string> take_in_kept_samples(const Paths& paths) {
  std::vector<std::string> warnings;
  if (kept_samples(paths, "", warnings).empty()) return warnings;
  auto ledger = quotas::Ledger::open(paths.ledger());
  warnings.clear();
  take_in_kept(ledger, paths, warnings);
  return warnings;
}

void roll_up_ledger(const Installation& installation) {
  const Paths& paths = installation.paths;
  if (!sys::exists(paths.ledger())) return;
  std::vector<std::string> existing;
  for (const std::string& name : container_names(paths)) {
    // One that cannot be read may be any of the known: then none is taken for gone.
    try {
      existing.push_back(load_identity(paths, name).uuid);
    } catch (const Error&) {
      for (const auto& container : quotas::Ledger::open(paths.ledger()).containers())
        existing.push_back(container.uuid);
    }
  }
  quotas::Ledger::open(paths.ledger()).roll_up(installation.settings.ledger, std::time(nullptr), existing);
  quotas::tidy_ledger(paths.ledger(), Durability::survives_crash);
}

void sample_after_change(const Paths& paths, const std::string& name) noexcept {
  // No wait for the disk: what a crash of the host took of it would be as if the container had just not been
  // looked at.
  ignore_errors([&] { sample_accounts(paths, {name}, Durability::until_reboot); });
}

void rename_in_ledger(const Paths& paths, const std::string& name) noexcept {
  ignore_errors([&] {  // the next sample does the same
    if (!sys::exists(paths.ledger())) return;
    const std::string uuid = load_identity(paths, name).uuid;
    quotas::Ledger::open(paths.ledger()).write([&](quotas::LedgerWriter& writer) {
      writer.rename(uuid, name);
    });
  });
}

void take_last_sample(const Paths& paths, const std::string& name) noexcept {
  bool is_counted = false;
  ignore_errors([&] { is_counted = sample_accounts(paths, {name}).counted > 0; });  // kept below
  if (is_counted) return;
  // What is to be removed must not depend on that.
  ignore_errors([&] { keep_last_sample(paths, name, std::nullopt); });
}

void keep_last_sample(const Paths& paths, const std::string& name, std::optional<int64_t> ended_ns) {
  step("keep the last sample", [&] {
    if (const auto sample = read_account(paths, name, ended_ns)) keep_sample(paths, *sample);
  });
}

}  // namespace holm::runtime
