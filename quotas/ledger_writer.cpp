// How a sample becomes usage: the difference to the last position, over the hours of the time between.
#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "quotas/counters.h"
#include "quotas/ledger.h"
#include "quotas/ledger_format.h"

namespace holm::quotas {
namespace {

constexpr const char* kRunSource = "run";
// Memory over time is summed in half bytes and nanoseconds, as it is the mean of two amounts.
constexpr int64_t kHalfByteNanoseconds = 2 * int64_t{1024} * 1'000'000'000;

size_t index_of(Quantity quantity) { return static_cast<size_t>(quantity); }

int64_t to_signed(uint64_t value) {
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    throw Error(fmt::format("the kernel counts {}, which the ledger cannot hold", value));
  return static_cast<int64_t>(value);
}

std::string upsert_sql() {
  return fmt::format(
      "INSERT INTO usage (container, span, start, {}, memory_peak_bytes) VALUES (?, 0, ?, {}, ?) {}",
      usage_columns(), usage_columns("?"), usage_upsert());
}

}  // namespace

struct LedgerWriter::Position {
  std::string boot;
  int64_t boottime_ns = 0;
  int64_t walltime_ns = 0;
  std::string run;
  std::optional<int64_t> memory_held;
  int64_t memory_rest = 0;  // of kHalfByteNanoseconds: what is not yet a whole KiB for a second
  std::string peak_life;
  int64_t peak = 0;
};

struct LedgerWriter::Statements {
  explicit Statements(const Database& database)
      : find_container(database.prepare("SELECT id, name, gone FROM container WHERE uuid = ?")),
        add_container(database.prepare("INSERT INTO container (uuid, name) VALUES (?, ?) RETURNING id")),
        rename_container(database.prepare("UPDATE container SET name = ?, gone = NULL WHERE uuid = ?")),
        find_position(database.prepare(
            "SELECT boot, boottime_ns, walltime_ns, run, memory_bytes, memory_rest, peak_life, peak_bytes "
            "FROM position WHERE container = ?")),
        put_position(
            database.prepare("REPLACE INTO position VALUES (?, ?, ?, ?, ?, nullif(?, -1), ?, ?, ?)")),
        find_meter(database.prepare(
            "SELECT life, total FROM meter WHERE container = ? AND source = ? AND quantity = ?")),
        put_meter(database.prepare("REPLACE INTO meter VALUES (?, ?, ?, ?, ?)")),
        add_usage(database.prepare(upsert_sql())),
        find_counter(database.prepare(
            "SELECT life, held, peak, failures, earlier_held, earlier_peak, earlier_failures FROM counter "
            "WHERE container = ? AND name = ?")),
        put_counter(database.prepare("REPLACE INTO counter VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")),
        add_kept(
            database.prepare("INSERT INTO kept (id, at) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id")) {
  }

  Statement find_container, add_container, rename_container, find_position, put_position, find_meter,
      put_meter, add_usage, find_counter, put_counter, add_kept;
};

LedgerWriter::LedgerWriter(const Database& database) : statements_(std::make_unique<Statements>(database)) {}
LedgerWriter::~LedgerWriter() = default;

void LedgerWriter::add_kept(const KeptSample& kept) {
  Statement& statement = statements_->add_kept;
  const bool is_new = statement.with(kept.id, kept.sample.walltime_ns / 1'000'000'000).step();
  statement.reset();
  if (is_new) add(kept.sample, Origin::kept);
}

void LedgerWriter::rename(const std::string& uuid, const std::string& name) {
  statements_->rename_container.with(name, uuid).run();
}

void LedgerWriter::add_peaks(const std::string& uuid, const std::string& name, const std::string& life,
                             const std::vector<CounterReading>& readings) {
  const int64_t container = container_of(uuid, name);
  // All samples have a total: it tells which run is the last that is known.
  Statement& find = statements_->find_counter;
  const bool is_over = find.with(container, "cputime").step() && find.text(0) != life;
  find.reset();
  if (is_over) return;
  for (const CounterReading& reading : readings)
    merge_counter(container, life, {reading.name, reading.held, reading.peak, 0}, Origin::kept);
}

void LedgerWriter::bring_counters(const std::string& uuid, const std::string& name,
                                  const std::vector<CounterReading>& readings) {
  const int64_t container = container_of(uuid, name);
  for (const CounterReading& reading : readings) {
    const int64_t held = is_total(reading.name) ? to_signed(reading.held) : 0;
    const int64_t peak = to_signed(reading.peak), failures = to_signed(reading.failures);
    Statement& find = statements_->find_counter;
    if (!find.with(container, reading.name).step()) {
      find.reset();
      // A life that no run of this host's has.
      statements_->put_counter
          .with(container, reading.name, std::string("elsewhere"), held, peak, failures, int64_t{0},
                int64_t{0}, int64_t{0})
          .run();
      continue;
    }
    const std::string life = find.text(0);
    const int64_t now[] = {find.integer(1), find.integer(2), find.integer(3)};
    const int64_t earlier[] = {find.integer(4), find.integer(5), find.integer(6)};
    find.reset();
    const auto more = [](int64_t brought, int64_t known) { return std::max<int64_t>(0, brought - known); };
    statements_->put_counter
        .with(container, reading.name, life, now[0], now[1], now[2],
              earlier[0] + more(held, now[0] + earlier[0]), std::max(earlier[1], peak),
              earlier[2] + more(failures, now[2] + earlier[2]))
        .run();
  }
}

std::vector<std::string> LedgerWriter::add(const LedgerSample& sample, Origin origin) {
  std::vector<std::string> warnings;
  const int64_t container = container_of(sample.uuid, sample.name);
  const std::optional<Position> before = position_of(container);
  std::vector<int64_t> amounts(kQuantities.size(), 0);
  for (const Meter& meter : sample.meters)
    amounts[index_of(meter.quantity)] += advance(container, meter, origin, warnings);

  Position after = before.value_or(Position{});
  after.memory_rest = before ? before->memory_rest : 0;
  int64_t lived = 0;
  if (sample.run) {
    const int64_t age = std::max<int64_t>(0, sample.run->until_ns - sample.run->begin_ns);
    // Two who look at the same end may not agree about its moment; neither is an error.
    lived = advance(container, {Quantity::uptime, kRunSource, sample.run->id, static_cast<uint64_t>(age)},
                    Origin::kept, warnings);
    amounts[index_of(Quantity::uptime)] = lived;
    amounts[index_of(Quantity::memory_time)] = memory_time(sample, before, after, lived);
  }
  const bool same_boot = before && before->boot == sample.boot_id;
  const int64_t length = lived > 0 || sample.run || !same_boot
                             ? lived
                             : std::max<int64_t>(0, sample.boottime_ns - before->boottime_ns);
  store_usage(container, sample, before, amounts, length);

  // A sample that was kept may be older than what has been counted since.
  if (!same_boot || origin == Origin::now || sample.boottime_ns >= before->boottime_ns) {
    after.boot = sample.boot_id;
    after.boottime_ns = sample.boottime_ns;
    after.walltime_ns = sample.walltime_ns;
    after.run = sample.run ? sample.run->id : after.run;
    after.memory_held = sample.memory_held ? std::optional(to_signed(*sample.memory_held)) : std::nullopt;
    if (sample.memory_peak) {
      after.peak_life = sample.memory_life;
      after.peak = to_signed(*sample.memory_peak);
    }
  }
  store_position(container, after);
  for (const CounterReading& reading : sample.counters)
    merge_counter(container, sample.counters_life, reading, origin);
  return warnings;
}

int64_t LedgerWriter::container_of(const std::string& uuid, const std::string& name) {
  Statement& find = statements_->find_container;
  if (!find.with(uuid).step()) {
    Statement& add = statements_->add_container;
    add.with(uuid, name).step();
    const int64_t id = add.integer(0);
    add.run();
    return id;
  }
  const int64_t id = find.integer(0);
  if (find.text(1) != name || !find.is_null(2)) rename(uuid, name);
  find.reset();
  return id;
}

std::optional<LedgerWriter::Position> LedgerWriter::position_of(int64_t container) {
  Statement& find = statements_->find_position;
  if (!find.with(container).step()) return std::nullopt;
  Position position{find.text(0), find.integer(1), find.integer(2), find.text(3),
                    std::nullopt, find.integer(5), find.text(6),    find.integer(7)};
  if (!find.is_null(4)) position.memory_held = find.integer(4);
  find.reset();
  return position;
}

void LedgerWriter::store_position(int64_t container, const Position& position) {
  statements_->put_position
      .with(container, position.boot, position.boottime_ns, position.walltime_ns, position.run,
            position.memory_held.value_or(-1), position.memory_rest, position.peak_life, position.peak)
      .run();
}

// What a counter has counted since its position. A life that is new to the ledger has counted from zero.
int64_t LedgerWriter::advance(int64_t container, const Meter& meter, Origin origin,
                              std::vector<std::string>& warnings) {
  const std::string_view quantity = kQuantities[index_of(meter.quantity)];
  const int64_t total = to_signed(meter.total);
  int64_t counted = 0;
  Statement& find = statements_->find_meter;
  if (find.with(container, meter.source, quantity).step() && find.text(0) == meter.life)
    counted = find.integer(1);
  find.reset();
  if (total < counted && origin == Origin::kept) return 0;  // older than the position
  if (total < counted) {
    warnings.push_back(fmt::format("{} of '{}' ran backwards from {} to {}: counted from zero again",
                                   quantity, meter.source, counted, total));
    counted = 0;
  }
  if (total != counted || total == 0)
    statements_->put_meter.with(container, meter.source, quantity, meter.life, total).run();
  return total - counted;
}

// KiB for a second: the mean of what was held at both ends of the time lived; where one end is not known, or
// is that of a run that is over, what was held at the other.
int64_t LedgerWriter::memory_time(const LedgerSample& sample, const std::optional<Position>& before,
                                  Position& after, int64_t lived) {
  std::optional<int64_t> first, last;
  if (before && before->run == sample.run->id) first = before->memory_held;
  if (sample.memory_held) last = to_signed(*sample.memory_held);
  if (!first) first = last;
  if (!last || sample.run->has_ended) last = first;
  if (!first) return 0;
  const Wide sum = (Wide{*first} + *last) * lived + after.memory_rest;
  after.memory_rest = static_cast<int64_t>(sum % kHalfByteNanoseconds);
  return static_cast<int64_t>(sum / kHalfByteNanoseconds);
}

void LedgerWriter::store_usage(int64_t container, const LedgerSample& sample,
                               const std::optional<Position>& before, const std::vector<int64_t>& amounts,
                               int64_t length) {
  int64_t level = sample.memory_held ? to_signed(*sample.memory_held) : 0;
  if (before && sample.run && before->run == sample.run->id)
    level = std::max(level, before->memory_held.value_or(0));
  // The kernel tells the peak of the whole run: it is of this time only where it has risen.
  int64_t peak = level;
  const int64_t told = sample.memory_peak ? to_signed(*sample.memory_peak) : 0;
  if (!before || before->peak_life != sample.memory_life || told > before->peak) peak = std::max(peak, told);

  const bool is_nothing = std::ranges::all_of(amounts, [](int64_t amount) { return amount == 0; });
  if (is_nothing && length == 0) return;
  const int64_t since_end = sample.run ? sample.boottime_ns - sample.run->until_ns : 0;
  const int64_t until = std::max<int64_t>(0, sample.walltime_ns - since_end);
  const std::vector<HourShare> shares = split_by_hour(until, std::min(length, until));
  std::vector<std::vector<int64_t>> parts;
  for (const int64_t amount : amounts) parts.push_back(divide(amount, shares));
  for (size_t i = 0; i < shares.size(); ++i) {
    Statement& add = statements_->add_usage;
    add.with(container, shares[i].hour);
    int place = 2;
    for (const auto& part : parts) add.bind(++place, part[i]);
    add.bind(++place, i + 1 == shares.size() ? peak : level);
    add.run();
  }
}

void LedgerWriter::merge_counter(int64_t container, const std::string& life, const CounterReading& reading,
                                 Origin origin) {
  struct Row {
    int64_t held = 0, peak = 0, failures = 0;
    bool operator==(const Row&) const = default;
  };
  Row now{to_signed(reading.held), std::max(to_signed(reading.peak), to_signed(reading.held)),
          to_signed(reading.failures)};
  Row earlier;
  Statement& find = statements_->find_counter;
  if (find.with(container, reading.name).step()) {
    const bool same_life = find.text(0) == life;
    const Row last{find.integer(1), find.integer(2), find.integer(3)};
    const Row before{find.integer(4), find.integer(5), find.integer(6)};
    earlier = before;
    const auto gone = [&](int64_t was, int64_t is) {
      if (!same_life) return was;
      // Sums over devices and nested groups fall when one goes, without beginning anew.
      return origin == Origin::kept ? 0 : std::max<int64_t>(0, was - is);
    };
    if (same_life && origin == Origin::kept) {  // which may be older than the last
      if (is_total(reading.name)) now.held = std::max(now.held, last.held);
      now.failures = std::max(now.failures, last.failures);
    }
    if (same_life) now.peak = std::max(now.peak, last.peak);
    if (is_total(reading.name)) earlier.held += gone(last.held, now.held);
    earlier.failures += gone(last.failures, now.failures);
    if (!same_life) earlier.peak = std::max(before.peak, last.peak);
    if (same_life && now == last && earlier == before) return find.reset();
  }
  find.reset();
  statements_->put_counter
      .with(container, reading.name, life, now.held, now.peak, now.failures, earlier.held, earlier.peak,
            earlier.failures)
      .run();
}

}  // namespace holm::quotas
