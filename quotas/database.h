// A file of SQLite's: the one place where that library is used.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file.h"

struct sqlite3;
struct sqlite3_stmt;

namespace holm::quotas {

// The file is no database, or one that cannot be read any more.
class DamagedDatabase : public Error {
 public:
  using Error::Error;
};

// One prepared statement; used again and again, with values in the place of its question marks.
class Statement {
 public:
  Statement(sqlite3* database, std::string_view sql);

  // Starts over with these values: whole numbers and texts.
  template <class... Values>
  Statement& with(const Values&... values) {
    reset();
    int place = 0;
    (bind(++place, values), ...);
    return *this;
  }
  // The next row; false where there is none. Throws what the database could not do.
  bool step();
  // Runs a statement that gives no rows, to its end.
  void run();

  bool is_null(int column) const;
  int64_t integer(int column) const;
  std::string text(int column) const;
  void bind(int place, int64_t value);
  void bind(int place, std::string_view value);
  void reset();

 private:
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const;
  };
  sqlite3* database_;
  std::unique_ptr<sqlite3_stmt, Finalizer> statement_;
};

class Database {
 public:
  enum class Access { read, write };  // write: a file that is not there is made, for the owner alone
  Database(const std::string& path, Access access);

  // `until_reboot`: commits do not wait for the disk. What a crash of the machine then loses is lost whole.
  void set_durability(Durability durability);
  // Copies the log into the file and empties it, unless others are using it.
  void empty_log() const;
  Statement prepare(std::string_view sql) const { return {database_.get(), sql}; }
  // Statements without values and rows.
  void execute(const std::string& sql) const;
  int64_t integer(std::string_view sql) const;  // the first value of the first row; 0 where there is none
  std::string text(std::string_view sql) const;

  // Runs `body` while no other process writes; what it wrote is there as a whole or not at all, whatever
  // happens. Waits up to 5 s for another writer.
  void transaction(const std::function<void()>& body) const;

  // The file that was opened, whatever has its name now.
  ino_t inode() const { return inode_; }

 private:
  struct Closer {
    void operator()(sqlite3* database) const;
  };
  std::unique_ptr<sqlite3, Closer> database_;
  ino_t inode_ = 0;
};

}  // namespace holm::quotas
