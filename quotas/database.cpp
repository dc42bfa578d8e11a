#include "quotas/database.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sqlite3.h>

#include <cerrno>

#include "base/step.h"
#include "base/sys.h"

namespace holm::quotas {
namespace {

constexpr int kPatienceMilliseconds = 5000;

std::string name_of(sqlite3* database) {
  const char* const path = sqlite3_db_filename(database, "main");
  return path ? path : "";
}

[[noreturn]] void throw_failure(sqlite3* database, std::string_view action) {
  const int code = sqlite3_errcode(database) & 0xff;
  const std::string path = name_of(database);
  const std::string message = fmt::format("{} '{}': {}", action, path, sqlite3_errmsg(database));
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) throw DamagedDatabase(message);
  if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
    throw Error(fmt::format("{} '{}': another process has been writing it for {} s", action, path,
                            kPatienceMilliseconds / 1000));
  if (code == SQLITE_FULL) throw Error::system(ENOSPC, fmt::format("{} '{}'", action, path));
  const int cause = sqlite3_system_errno(database);
  if ((code == SQLITE_IOERR || code == SQLITE_CANTOPEN) && cause != 0)
    throw Error::system(cause, fmt::format("{} '{}'", action, path));
  throw Error(message);
}

void check(sqlite3* database, int code, std::string_view action) {
  if (code != SQLITE_OK) throw_failure(database, action);
}

}  // namespace

void Statement::Finalizer::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
void Database::Closer::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

Statement::Statement(sqlite3* database, std::string_view sql) : database_(database) {
  sqlite3_stmt* statement = nullptr;
  check(database, sqlite3_prepare_v2(database, sql.data(), static_cast<int>(sql.size()), &statement, nullptr),
        "read the database");
  statement_.reset(statement);
}

bool Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  throw_failure(database_,
                sqlite3_stmt_readonly(statement_.get()) ? "read the database" : "write the database");
}

void Statement::run() {
  while (step()) {
  }
  reset();
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}
int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::string Statement::text(int column) const {
  const auto* const text = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  return text ? text : "";
}

void Statement::bind(int place, int64_t value) {
  check(database_, sqlite3_bind_int64(statement_.get(), place, value), "fill a statement for");
}

void Statement::bind(int place, std::string_view value) {
  check(database_,
        sqlite3_bind_text(statement_.get(), place, value.data(), static_cast<int>(value.size()),
                          SQLITE_TRANSIENT),
        "fill a statement for");
}

// What the statement's last run failed with was thrown then.
void Statement::reset() { sqlite3_reset(statement_.get()); }

namespace {

// SQLite would give the file the mode that the umask leaves of 0644; those beside it take its mode. One that
// is there is not opened: with any of its descriptors that is closed, all locks that this process has on it
// go (fcntl(2)), and others may then take the log away under a transaction.
void make_file(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file && errno != EEXIST) throw Error::system(fmt::format("make '{}'", path));
}

}  // namespace

Database::Database(const std::string& path, Access access) {
  // A log outlives its file's content only where somebody emptied the file.
  const auto before = sys::stat_path(path);
  if (before && before->st_size == 0 && S_ISREG(before->st_mode) && sys::exists(path + "-wal"))
    throw DamagedDatabase(fmt::format("open '{}': it is empty, and its log is not", path));
  if (access == Access::write) make_file(path);
  const auto file = sys::stat_path(path);
  if (!file) throw Error::system(ENOENT, fmt::format("open '{}'", path));
  if (!S_ISREG(file->st_mode)) throw Error(fmt::format("open '{}': it is no file", path));
  inode_ = file->st_ino;
  sqlite3* database = nullptr;
  // As a reader, too: the log's index is written by all.
  const int code =
      sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  database_.reset(database);
  check(database, code, "open the database");
  sqlite3_busy_timeout(database, kPatienceMilliseconds);
  // Without these the last one who closes the file copies the log into it, which waits for the disk twice.
  int on = 1;
  sqlite3_file_control(database, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
  sqlite3_db_config(database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  // A damaged schema must not run anything.
  sqlite3_db_config(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  // Who copies the log is chosen by tidy_ledger, not by who happens to commit.
  execute("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0");
}

void Database::set_durability(Durability durability) {
  execute(durability == Durability::survives_crash ? "PRAGMA synchronous = FULL"
                                                   : "PRAGMA synchronous = NORMAL");
}

void Database::execute(const std::string& sql) const {
  check(database_.get(), sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr),
        "write the database");
}

void Database::empty_log() const {
  sqlite3_busy_timeout(database_.get(), 0);
  execute("SELECT count(*) FROM sqlite_schema");  // a log is not known before the file was read
  const int code =
      sqlite3_wal_checkpoint_v2(database_.get(), "main", SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  if (code != SQLITE_BUSY) check(database_.get(), code, "tidy the database");
}

int64_t Database::integer(std::string_view sql) const {
  Statement statement = prepare(sql);
  return statement.step() ? statement.integer(0) : 0;
}

std::string Database::text(std::string_view sql) const {
  Statement statement = prepare(sql);
  return statement.step() ? statement.text(0) : "";
}

void Database::transaction(const std::function<void()>& body) const {
  step("lock the ledger", [&] { execute("BEGIN IMMEDIATE"); });
  try {
    body();
    step("commit the ledger", [&] { execute("COMMIT"); });
  } catch (...) {
    // Some failures have rolled it back already.
    if (!sqlite3_get_autocommit(database_.get()))
      sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
}

}  // namespace holm::quotas
