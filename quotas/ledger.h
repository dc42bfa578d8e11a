// The durable history of what containers used: /var/lib/holm/ledger.db. docs/ARCHITECTURE.md, "The ledger",
// tells why nothing is lost in it or counted twice.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "quotas/database.h"
#include "quotas/meter.h"
#include "quotas/usage_calendar.h"

namespace holm::quotas {

// One life of a container's init, by the clock that no one can set.
struct RunClock {
  std::string id;        // never the same for two
  int64_t begin_ns = 0;  // on CLOCK_BOOTTIME
  int64_t until_ns = 0;  // the moment of the sample, or of the end
  bool has_ended = false;
};

// What the kernel has counted for a container at one moment.
struct LedgerSample {
  std::string uuid;
  std::string name;
  std::string boot_id;
  int64_t boottime_ns = 0;      // CLOCK_BOOTTIME: durations
  int64_t walltime_ns = 0;      // CLOCK_REALTIME: only chooses the hour
  std::optional<RunClock> run;  // nothing where it is not known until when it lived
  std::vector<Meter> meters;    // without uptime and memory over time, which are worked out from `run`
  std::optional<uint64_t> memory_held;
  std::optional<uint64_t> memory_peak;
  std::string memory_life;  // of the peak
  std::vector<CounterReading> counters;
  std::string counters_life;
};

// A sample that could not be written when it was taken. Each is counted once, however often it is added.
struct KeptSample {
  std::string id;
  LedgerSample sample;
};

// Writes samples; only inside of Ledger::write.
class LedgerWriter {
 public:
  explicit LedgerWriter(const Database& database);
  ~LedgerWriter();
  LedgerWriter(const LedgerWriter&) = delete;
  LedgerWriter& operator=(const LedgerWriter&) = delete;

  // Counts what has been used since this container's previous sample. A warning where a counter ran backwards
  // within its life; what it holds is then counted anew.
  // `kept`: it may be older than what has been counted; then it adds nothing.
  enum class Origin { now, kept };
  std::vector<std::string> add(const LedgerSample& sample, Origin origin = Origin::now);
  void add_kept(const KeptSample& kept);
  // The most that a look has seen held, of counters whose peak no sample has (is_peak_by_looks). Of a run
  // that is over nothing is taken.
  void add_peaks(const std::string& uuid, const std::string& name, const std::string& life,
                 const std::vector<CounterReading>& readings);
  // What a container has counted in all of its life, before it came here from elsewhere: what is not known of
  // that here is added.
  void bring_counters(const std::string& uuid, const std::string& name,
                      const std::vector<CounterReading>& readings);
  void rename(const std::string& uuid, const std::string& name);

 private:
  struct Statements;
  struct Position;

  int64_t container_of(const std::string& uuid, const std::string& name);
  std::optional<Position> position_of(int64_t container);
  void store_position(int64_t container, const Position& position);
  int64_t advance(int64_t container, const Meter& meter, Origin origin, std::vector<std::string>& warnings);
  int64_t memory_time(const LedgerSample& sample, const std::optional<Position>& before, Position& after,
                      int64_t lived);
  void store_usage(int64_t container, const LedgerSample& sample, const std::optional<Position>& before,
                   const std::vector<int64_t>& amounts, int64_t length);
  void merge_counter(int64_t container, const std::string& life, const CounterReading& reading,
                     Origin origin);

  std::unique_ptr<Statements> statements_;
};

// How long usage is kept by the hour, by the day and by the month.
struct LedgerRetention {
  int64_t hours_days = 62;      // days for which hours are kept
  int64_t days_days = 400;      // days for which days are kept
  int64_t months_months = 120;  // months for which months are kept
};

struct UsageQuery {
  std::vector<std::string> uuids;  // empty: all containers
  int64_t since = 0;               // seconds since the epoch; what begins in [since, until)
  int64_t until = INT64_MAX;
  std::optional<Span> by;  // nothing: one row a container
};

struct UsageRow {
  std::string uuid;
  std::string name;
  std::optional<Span> span;  // may be longer than asked for, where it is no longer kept so finely
  int64_t begin = 0;
  int64_t end = 0;
  UsageSums sums;
};

struct LedgerContainer {
  std::string uuid;
  std::string name;
};

// What is known of a counter beside what the kernel tells in the run `life`.
struct CounterBase {
  std::string name;
  uint64_t held = 0;      // the sum of all earlier runs: of a total
  uint64_t peak = 0;      // the most of all runs, this one's included
  uint64_t failures = 0;  // of all earlier runs
  // What was last counted of this run: sums over devices and nested groups fall when one goes.
  uint64_t run_held = 0, run_failures = 0;
};

class Ledger {
 public:
  // Opens the file, or makes it. One that is damaged is set aside under another name, and a new one begun:
  // see notes(). Throws for one that a newer Holm made.
  static Ledger open(const std::string& path, Durability durability = Durability::survives_crash);
  // Nothing where there is no such file.
  static std::optional<Ledger> open_to_read(const std::string& path);

  // Runs `body` in one transaction: nobody else writes meanwhile, and all of it counts or nothing. What it
  // reads from the kernel is therefore later than all that has been counted. May run it twice, where the
  // ledger turns out to be damaged.
  void write(const std::function<void(LedgerWriter&)>& body);

  // By container (name, uuid), then by time.
  std::vector<UsageRow> usage(const UsageQuery& query) const;
  // Of the rows that begin before `moment` and end after it: one that makes a sum reach beyond it.
  std::optional<UsageRow> straddling(int64_t moment) const;
  std::vector<LedgerContainer> containers() const;
  std::vector<CounterBase> counter_bases(const std::string& uuid, const std::string& life) const;

  // Hours become days, days months, as `retention` says; sums stay the same until whole months are dropped.
  // `existing`: the uuids of all containers that there are; what only later samples of the others would need
  // is dropped, too.
  void roll_up(const LedgerRetention& retention, int64_t now, const std::vector<std::string>& existing);

  // What a person should know: "... is damaged and was moved to ...".
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  Ledger(std::string path, Durability durability) : path_(std::move(path)), durability_(durability) {}
  void connect();
  void set_aside(const std::string& reason, ino_t inode);

  std::string path_;
  Durability durability_;
  std::unique_ptr<Database> database_;
  std::vector<std::string> notes_;
};

// What a writer leaves for after its work: waits until all that was written without waiting for the disk is
// on it (where that matters), and copies a log that has become long into the file. Whoever opens the ledger
// reads the log from its begin.
void tidy_ledger(const std::string& path, Durability durability);

// Files beside `path` that were set aside as damaged.
std::vector<std::string> ledgers_set_aside(const std::string& path);

}  // namespace holm::quotas
