#include "quotas/ledger_format.h"

#include <fmt/core.h>

#include <functional>
#include <vector>

#include "base/text.h"
#include "quotas/meter.h"

namespace holm::quotas {
namespace {

constexpr int64_t kApplicationId = 0x486f6c6d;  // "Holm": file(1) and sqlite3 tell it from other databases

// A position is where the counting has come to: all of the kernel's totals up to it are in `usage`.
//   container  who the uuid is; `gone`: since when there is no such container (seconds since the epoch)
//   position   the last sample's clocks, and what memory over time needs of it
//   meter      the last total of each of the kernel's counters, and the life that it counts
//   usage      what was used in an hour (span 0), a day (1) or a month (2) that begins at `start`
//   counter    held, peak and failures of the last run, and what all runs before it had (of totals the sum)
//   kept       samples that were kept in a file of their own and have been counted since
std::string first_format() {
  return "CREATE TABLE container (id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, name TEXT NOT NULL,"
         " gone INTEGER) STRICT;"
         "CREATE TABLE position (container INTEGER PRIMARY KEY, boot TEXT NOT NULL, boottime_ns INTEGER NOT "
         "NULL,"
         " walltime_ns INTEGER NOT NULL, run TEXT NOT NULL, memory_bytes INTEGER,"
         " memory_rest INTEGER NOT NULL, peak_life TEXT NOT NULL, peak_bytes INTEGER NOT NULL) STRICT;"
         "CREATE TABLE meter (container INTEGER NOT NULL, source TEXT NOT NULL, quantity TEXT NOT NULL,"
         " life TEXT NOT NULL, total INTEGER NOT NULL, PRIMARY KEY (container, source, quantity))"
         " STRICT, WITHOUT ROWID;"
         "CREATE TABLE usage (container INTEGER NOT NULL, span INTEGER NOT NULL, start INTEGER NOT NULL, " +
         usage_columns("% INTEGER NOT NULL") +
         ", memory_peak_bytes INTEGER NOT NULL, PRIMARY KEY (container, span, start)) STRICT, WITHOUT ROWID;"
         "CREATE INDEX usage_by_time ON usage (span, start);"
         "CREATE TABLE counter (container INTEGER NOT NULL, name TEXT NOT NULL, life TEXT NOT NULL,"
         " held INTEGER NOT NULL, peak INTEGER NOT NULL, failures INTEGER NOT NULL,"
         " earlier_held INTEGER NOT NULL, earlier_peak INTEGER NOT NULL, earlier_failures INTEGER NOT NULL, "
         "PRIMARY KEY (container, name))"
         " STRICT, WITHOUT ROWID;"
         "CREATE TABLE kept (id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;" +
         fmt::format("PRAGMA application_id = {}", kApplicationId);
}

// Each makes the next format of the one before. What has been released is never changed here.
std::vector<std::function<std::string()>> migrations() { return {first_format}; }

int64_t version_of(const Database& database, const std::string& path) {
  const int64_t version = database.integer("PRAGMA user_version");
  if (version == 0) {
    if (database.integer("SELECT count(*) FROM sqlite_schema") != 0)
      throw Error(fmt::format("'{}' is another program's database", path));
    return 0;
  }
  if (database.integer("PRAGMA application_id") != kApplicationId)
    throw Error(fmt::format("'{}' is another program's database", path));
  if (version > static_cast<int64_t>(migrations().size()))
    throw Error(fmt::format("'{}' was written by a newer version of Holm", path)).hint("use that version");
  return version;
}

}  // namespace

std::string usage_columns(const std::string& pattern, const std::string& separator) {
  std::string out;
  for (const std::string_view name : kQuantities) {
    if (!out.empty()) out += separator;
    for (const char c : pattern) c == '%' ? out.append(name) : out.append(1, c);
  }
  return out;
}

std::string usage_upsert() {
  return "ON CONFLICT (container, span, start) DO UPDATE SET " + usage_columns("% = % + excluded.%") +
         ", memory_peak_bytes = max(memory_peak_bytes, excluded.memory_peak_bytes)";
}

bool is_ledger(const Database& database, const std::string& path) { return version_of(database, path) > 0; }

void prepare_ledger(Database& database, const std::string& path) {
  const auto steps = migrations();
  if (version_of(database, path) == static_cast<int64_t>(steps.size())) return;
  // Cannot be done within a transaction. Readers then never wait for writers.
  if (database.text("PRAGMA journal_mode = WAL") != "wal")
    throw Error(fmt::format("make '{}': its file system cannot share memory between processes", path))
        .hint("keep Holm's state directory on a local file system");
  database.transaction([&] {
    for (auto version = static_cast<size_t>(version_of(database, path)); version < steps.size(); ++version)
      database.execute(steps[version]());
    database.execute(fmt::format("PRAGMA user_version = {}", steps.size()));
  });
}

}  // namespace holm::quotas
