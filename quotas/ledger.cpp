// The ledger's file as a whole: opened, made, set aside when it is damaged, rolled up. Samples are written by
// ledger_writer.cpp and read by ledger_query.cpp.
#include "quotas/ledger.h"

#include <fcntl.h>
#include <fmt/core.h>

#include <chrono>
#include <ctime>
#include <set>

#include "base/file_lock.h"
#include "base/step.h"
#include "base/sys.h"
#include "quotas/ledger_format.h"

namespace holm::quotas {
namespace {

constexpr std::chrono::seconds kLockPatience(5);
constexpr int64_t kDay = 86400;
constexpr const char* kAsideMark = ".damaged-";
constexpr off_t kLongLog = 256 << 10;  // some 20 samples

FileLock lock_file(const std::string& path) {
  return FileLock::acquire(
      path + ".lock", kLockPatience,
      fmt::format("open '{}': another process has been opening it for {} s", path, kLockPatience.count()));
}

// Rows of one span that begin before `cutoff` become rows of the next, which begin at `group`.
void merge_rows(const Database& database, Span from, const std::string& group, int64_t cutoff) {
  const std::string columns = usage_columns();
  database
      .prepare(fmt::format("INSERT INTO usage (container, span, start, {}, memory_peak_bytes) "
                           "SELECT container, span + 1, {} AS period, {}, max(memory_peak_bytes) FROM usage "
                           "WHERE span = ? AND start < ? GROUP BY container, period {}",
                           columns, group, usage_columns("sum(%)"), usage_upsert()))
      .with(static_cast<int64_t>(from), cutoff)
      .run();
  database.prepare("DELETE FROM usage WHERE span = ? AND start < ?")
      .with(static_cast<int64_t>(from), cutoff)
      .run();
}

// `gone` for those that are no longer there. What a later sample of theirs would need goes a day later, the
// rest when nothing that they used is kept any more.
void forget_the_gone(const Database& database, const std::vector<std::string>& existing, int64_t now) {
  const std::set<std::string> known(existing.begin(), existing.end());
  Statement all = database.prepare("SELECT uuid FROM container WHERE gone IS NULL");
  Statement mark = database.prepare("UPDATE container SET gone = ? WHERE uuid = ?");
  std::vector<std::string> missing;
  while (all.step())
    if (!known.contains(all.text(0))) missing.push_back(all.text(0));
  for (const std::string& uuid : missing) mark.with(now, uuid).run();
  for (const char* table : {"position", "meter", "counter"})
    database
        .prepare(
            fmt::format("DELETE FROM {} WHERE container IN (SELECT id FROM container WHERE gone < ?)", table))
        .with(now - kDay)
        .run();
  database
      .prepare(
          "DELETE FROM container WHERE gone < ? AND NOT EXISTS "
          "(SELECT 1 FROM usage WHERE usage.container = container.id)")
      .with(now - kDay)
      .run();
  database.prepare("DELETE FROM kept WHERE at < ?").with(now - 366 * kDay).run();
}

}  // namespace

Ledger Ledger::open(const std::string& path, Durability durability) {
  Ledger ledger(path, durability);
  ledger.connect();
  return ledger;
}

std::optional<Ledger> Ledger::open_to_read(const std::string& path) {
  if (!sys::exists(path)) return std::nullopt;
  const FileLock lock = lock_file(path);
  Ledger ledger(path, Durability::survives_crash);
  ledger.database_ = std::make_unique<Database>(path, Database::Access::read);
  if (!is_ledger(*ledger.database_, path)) return std::nullopt;
  return ledger;
}

// The lock keeps others from finding the file gone and its log still there, or the other way round.
void Ledger::connect() {
  const FileLock lock = lock_file(path_);
  for (bool again = false;; again = true) {
    try {
      database_ = std::make_unique<Database>(path_, Database::Access::write);
      database_->set_durability(durability_);
      return prepare_ledger(*database_, path_);
    } catch (const DamagedDatabase& error) {
      if (again) throw;
      const auto file = sys::stat_path(path_);
      database_.reset();
      if (file) set_aside(error.message(), file->st_ino);
    }
  }
}

// The caller holds the lock. Nothing of it is deleted: sqlite3's ".recover" may still read most of it.
void Ledger::set_aside(const std::string& reason, ino_t inode) {
  const auto file = sys::stat_path(path_);
  if (!file || file->st_ino != inode) return;  // another process was faster
  const std::time_t now = std::time(nullptr);
  std::string aside;
  for (int64_t number = now; aside.empty() || sys::exists(aside); ++number)
    aside = fmt::format("{}{}{}", path_, kAsideMark, number);
  // The log first: a new file must never meet the old one's.
  if (sys::exists(path_ + "-wal")) sys::rename(path_ + "-wal", aside + "-wal");
  sys::remove_file(path_ + "-shm");
  sys::rename(path_, aside);
  notes_.push_back(fmt::format(
      "the ledger was damaged ({}): moved to '{}', and a new one begun, which holds what running containers "
      "used since they were started",
      reason, aside));
}

void Ledger::write(const std::function<void(LedgerWriter&)>& body) {
  for (bool again = false;; again = true) {
    try {
      return database_->transaction([&] {
        LedgerWriter writer(*database_);
        body(writer);
      });
    } catch (const DamagedDatabase& error) {
      if (again) throw;
      const ino_t inode = database_->inode();
      database_.reset();
      {
        const FileLock lock = lock_file(path_);
        set_aside(error.message(), inode);
      }
      connect();
    }
  }
}

void Ledger::roll_up(const LedgerRetention& retention, int64_t now,
                     const std::vector<std::string>& existing) {
  step("roll the ledger up", [&] {
    database_->transaction([&] {
      merge_rows(*database_, Span::hour, "start - start % 86400",
                 begin_of(Span::day, now - retention.hours_days * kDay));
      merge_rows(*database_, Span::day,
                 "CAST(strftime('%s', start, 'unixepoch', 'start of month') AS INTEGER)",
                 begin_of(Span::month, now - retention.days_days * kDay));
      database_->prepare("DELETE FROM usage WHERE span = 2 AND start < ?")
          .with(months_before(now, retention.months_months))
          .run();
      forget_the_gone(*database_, existing, now);
    });
  });
}

void tidy_ledger(const std::string& path, Durability durability) {
  const std::string log = path + "-wal";
  const auto file = sys::open_if_exists(log, O_RDONLY);
  if (!file) return;
  if (sys::stat_fd(file->get(), log).st_size > kLongLog) {
    const FileLock lock = lock_file(path);
    Database(path, Database::Access::write).empty_log();  // left alone while others use it
  }
  if (durability != Durability::survives_crash) return;
  sys::sync_fd(file->get(), log);
  sync_directory(path.substr(0, path.rfind('/')));
}

std::vector<std::string> ledgers_set_aside(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string prefix = path.substr(slash + 1) + kAsideMark;
  std::vector<std::string> found;
  for (const std::string& name : list_directory(path.substr(0, slash)))
    if (name.starts_with(prefix) && !name.ends_with("-wal"))
      found.push_back(path.substr(0, slash + 1) + name);
  return found;
}

}  // namespace holm::quotas
