#include "runtime/account.h"

#include <fmt/core.h>

#include <algorithm>
#include <ctime>
#include <iterator>
#include <span>

#include "base/error.h"
#include "base/step.h"
#include "base/sys.h"
#include "runtime/account_reader.h"
#include "runtime/kept_samples.h"

namespace holm::runtime {
namespace {

// Containers a transaction: each waits for the disk once, and nobody else writes meanwhile.
constexpr size_t kBatch = 256;

struct Sampled {
  AccountReport report;
  std::vector<std::string> kept_files;
};

// One container that cannot be read must not keep the others from being counted. What cannot be written is
// another matter: then nothing of the transaction counts.
std::vector<quotas::LedgerSample> read_samples(const Paths& paths, std::span<const std::string> names,
                                               std::optional<int64_t> ended_ns, AccountReport& report) {
  const AccountReader reader(paths, names);
  report.uuids = reader.uuids();
  std::vector<quotas::LedgerSample> samples;
  for (const std::string& name : names) {
    try {
      auto reading = step("read the totals", [&] { return reader.read(name, ended_ns); });
      if (!reading) continue;
      if (reading->is_orphaned) report.orphans.push_back(name);
      samples.push_back(std::move(reading->sample));
    } catch (const Error& error) {
      if (container_exists(paths, name))
        report.warnings.push_back(fmt::format("container '{}': {}", name, error.message()));
    }
  }
  return samples;
}

// What was kept of an earlier run comes before. Of this run it may have been kept since the reading, which
// may then be the older one of the two.
void write_sample(quotas::LedgerWriter& writer, const quotas::LedgerSample& sample,
                  const std::vector<KeptFile>& kept, Sampled& sampled) {
  using Origin = quotas::LedgerWriter::Origin;
  Origin origin = Origin::now;
  for (const KeptFile& file : kept) {
    if (file.kept.sample.uuid != sample.uuid) continue;
    writer.add_kept(file.kept);
    sampled.kept_files.push_back(file.path);
    origin = Origin::kept;
  }
  for (const std::string& warning : step("write the ledger", [&] { return writer.add(sample, origin); }))
    sampled.report.warnings.push_back(fmt::format("container '{}': {}", sample.name, warning));
  ++sampled.report.counted;
}

void sample_names(quotas::LedgerWriter& writer, const Paths& paths, std::span<const std::string> names,
                  std::optional<int64_t> ended_ns, Sampled& sampled) {
  const auto samples = read_samples(paths, names, ended_ns, sampled.report);
  if (samples.empty()) return;
  // After the reading: what is kept of an earlier run was kept before the next one began.
  const std::string one = samples.size() == 1 ? samples.front().uuid : "";
  const auto kept = kept_samples(paths, one, sampled.report.warnings);
  for (const quotas::LedgerSample& sample : samples) write_sample(writer, sample, kept, sampled);
}

void write_batch(quotas::Ledger& ledger, const Paths& paths, std::span<const std::string> names,
                 std::optional<int64_t> ended_ns, AccountReport& report) {
  Sampled sampled;
  ledger.write([&](quotas::LedgerWriter& writer) {
    sampled = {};
    sample_names(writer, paths, names, ended_ns, sampled);
  });
  // What is on the disk now must not go before what has taken it in is there.
  if (!sampled.kept_files.empty()) quotas::tidy_ledger(paths.ledger(), Durability::survives_crash);
  for (const std::string& file : sampled.kept_files) remove_kept(file);
  report.counted += sampled.report.counted;
  for (const auto list : {&AccountReport::warnings, &AccountReport::orphans, &AccountReport::uuids})
    std::ranges::move(sampled.report.*list, std::back_inserter(report.*list));
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

AccountReport sample_accounts(const Paths& paths, const std::vector<std::string>& names,
                              Durability durability, std::optional<int64_t> ended_ns) {
  auto ledger = quotas::Ledger::open(paths.ledger(), durability);
  AccountReport report = sample_into(ledger, paths, names, ended_ns);
  report.notes = ledger.notes();
  return report;
}

AccountReport sample_all_accounts(const Installation& installation) {
  const Paths& paths = installation.paths;
  if (!sys::exists(paths.state)) return {};
  auto ledger = quotas::Ledger::open(paths.ledger());
  const std::vector<std::string> names = container_names(paths);
  AccountReport report = sample_into(ledger, paths, names, std::nullopt);
  take_in_kept(ledger, paths, report.warnings);
  std::vector<std::string> existing = report.uuids;
  // One that cannot be read may be any of the known: then none is taken for gone.
  if (existing.size() < names.size())
    for (const auto& container : ledger.containers()) existing.push_back(container.uuid);
  ledger.roll_up(installation.settings.ledger, std::time(nullptr), existing);
  quotas::tidy_ledger(paths.ledger(), Durability::survives_crash);
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

void sample_after_change(const Paths& paths, const std::string& name) noexcept {
  // No wait for the disk: what a crash of the host took of it would be as if the container had just not been
  // looked at.
  ignore_errors([&] {
    sample_accounts(paths, {name}, Durability::until_reboot);
    quotas::tidy_ledger(paths.ledger(), Durability::until_reboot);
  });
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
  ignore_errors([&] { keep_last_sample(paths, name, std::nullopt, LedgerDisk::answers); });
}

void keep_last_sample(const Paths& paths, const std::string& name, std::optional<int64_t> ended_ns,
                      LedgerDisk disk) {
  step("keep the last sample", [&] {
    const std::vector<std::string> names = {name};
    if (const auto reading = AccountReader(paths, names).read(name, ended_ns))
      keep_sample(paths, reading->sample, disk);
  });
}

}  // namespace holm::runtime
