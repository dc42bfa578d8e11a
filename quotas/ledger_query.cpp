// What the ledger tells.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "quotas/ledger.h"
#include "quotas/ledger_format.h"

namespace holm::quotas {
namespace {

constexpr int kFirstSum = 4;  // after uuid, name, span and start

std::string select_usage(std::string_view where) {
  return fmt::format(
      "SELECT container.uuid, container.name, usage.span, usage.start, {}, memory_peak_bytes "
      "FROM usage JOIN container ON container.id = usage.container WHERE {} ORDER BY usage.start",
      usage_columns(), where);
}

UsageRow read_row(const Statement& statement) {
  UsageRow row;
  row.uuid = statement.text(0);
  row.name = statement.text(1);
  row.span = static_cast<Span>(statement.integer(2));
  row.begin = statement.integer(3);
  row.end = end_of(*row.span, row.begin);
  int column = kFirstSum;
  for (Wide& value : row.sums.values) value = statement.integer(column++);
  row.sums.memory_peak_bytes = static_cast<uint64_t>(statement.integer(column));
  return row;
}

// The period that a row counts to: the one that was asked for, or its own where that is longer.
void widen(UsageRow& row, Span by) {
  if (*row.span >= by) return;
  row.begin = begin_of(by, row.begin);
  row.end = end_of(by, row.begin);
  row.span = by;
}

}  // namespace

std::vector<UsageRow> Ledger::usage(const UsageQuery& query) const {
  const std::set<std::string> wanted(query.uuids.begin(), query.uuids.end());
  Statement statement = database_->prepare(select_usage("usage.start >= ? AND usage.start < ?"));
  statement.with(query.since, query.until);
  std::map<std::tuple<std::string, std::string, int64_t, std::optional<Span>>, UsageRow> rows;
  while (statement.step()) {
    UsageRow row = read_row(statement);
    if (!wanted.empty() && !wanted.contains(row.uuid)) continue;
    if (query.by) widen(row, *query.by);
    const auto span = query.by ? row.span : std::nullopt;
    const auto [place, is_new] = rows.try_emplace({row.name, row.uuid, query.by ? row.begin : 0, span}, row);
    if (is_new) {
      place->second.span = span;
      continue;
    }
    place->second.begin = std::min(place->second.begin, row.begin);
    place->second.end = std::max(place->second.end, row.end);
    place->second.sums += row.sums;
  }
  std::vector<UsageRow> all;
  for (auto& [key, row] : rows) all.push_back(std::move(row));
  return all;
}

std::optional<UsageRow> Ledger::straddling(int64_t moment) const {
  Statement statement = database_->prepare(
      select_usage("((usage.span = 1 AND usage.start = ?) OR (usage.span = 2 AND usage.start = ?)) "
                   "AND usage.start < ?"));
  statement.with(begin_of(Span::day, moment), begin_of(Span::month, moment), moment);
  return statement.step() ? std::optional(read_row(statement)) : std::nullopt;
}

std::vector<LedgerContainer> Ledger::containers() const {
  Statement statement = database_->prepare("SELECT uuid, name FROM container ORDER BY name, uuid");
  std::vector<LedgerContainer> all;
  while (statement.step()) all.push_back({statement.text(0), statement.text(1)});
  return all;
}

std::vector<CounterBase> Ledger::counter_bases(const std::string& uuid, const std::string& life) const {
  Statement statement = database_->prepare(
      "SELECT counter.name, life, held, peak, failures, earlier_held, earlier_peak, earlier_failures FROM "
      "counter "
      "JOIN container ON container.id = counter.container WHERE uuid = ? ORDER BY counter.name");
  statement.with(uuid);
  std::vector<CounterBase> bases;
  while (statement.step()) {
    const bool is_current = statement.text(1) == life;
    const auto sum = [&](int column) {
      return static_cast<uint64_t>(statement.integer(column + 3) +
                                   (is_current ? 0 : statement.integer(column)));
    };
    CounterBase& base = bases.emplace_back();
    base.name = statement.text(0);
    base.held = sum(2);
    base.peak = static_cast<uint64_t>(std::max(statement.integer(3), statement.integer(6)));
    base.failures = sum(4);
    if (!is_current) continue;
    base.run_held = static_cast<uint64_t>(statement.integer(2));
    base.run_failures = static_cast<uint64_t>(statement.integer(4));
  }
  return bases;
}

}  // namespace holm::quotas
