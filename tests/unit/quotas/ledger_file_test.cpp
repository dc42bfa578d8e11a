// The ledger's file: several processes at once, kills, damage, a full disk, formats, and its size.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <map>
#include <random>

#include "base/file.h"
#include "base/sys.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/quotas/fake_usage.h"
#include "tests/unit/quotas/message_of.h"

using namespace holm;
using namespace holm::quotas;
using namespace holm::test;

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kHour = 3600 * kSecond;
constexpr int64_t kDay = 86400;

// A counter that goes on by itself, as the kernel's do: in memory that processes share.
class SharedCounter {
 public:
  SharedCounter()
      : value_(static_cast<std::atomic<uint64_t>*>(::mmap(nullptr, sizeof(std::atomic<uint64_t>),
                                                          PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                                                          -1, 0))) {}
  ~SharedCounter() { ::munmap(value_, sizeof *value_); }
  SharedCounter(const SharedCounter&) = delete;
  SharedCounter& operator=(const SharedCounter&) = delete;
  std::atomic<uint64_t>& operator*() const { return *value_; }

 private:
  std::atomic<uint64_t>* value_;
};

LedgerSample sample_of(uint64_t total) {
  FakeContainer box;
  box.start();
  LedgerSample sample = box.sample();
  sample.run.reset();
  sample.meters = {{Quantity::cpu, "cpu", "life", total}};
  return sample;
}

void sample_counter(Ledger& ledger, const SharedCounter& counter) {
  ledger.write([&](LedgerWriter& writer) { writer.add(sample_of((*counter).load())); });
}

template <class Body>
pid_t fork_to(Body&& body) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  int status = 0;
  try {
    body();
  } catch (const std::exception&) {
    status = 1;
  }
  ::_exit(status);
}

int wait_for(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

}  // namespace

TEST_CASE("processes that sample at once count nothing twice") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/ledger.db";
  const SharedCounter counter;
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i)
    children.push_back(fork_to([&] {
      for (int round = 0; round < 40; ++round) {
        auto ledger = Ledger::open(path, Durability::until_reboot);  // also the first one of all
        (*counter) += 1000 + static_cast<uint64_t>(round);
        sample_counter(ledger, counter);
      }
    }));
  for (const pid_t child : children) CHECK(wait_for(child) == 0);
  auto ledger = Ledger::open(path);
  CHECK(sum_of(ledger)[Quantity::cpu] == (*counter).load());
  CHECK(ledger.notes().empty());
}

TEST_CASE("a sampler that is killed at any moment has counted all or nothing") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/ledger.db";
  const SharedCounter counter;
  std::mt19937 random(3);
  for (int round = 0; round < 60; ++round) {
    const pid_t child = fork_to([&] {
      for (;;) {
        auto ledger = Ledger::open(path, Durability::until_reboot);
        for (int i = 0; i < 5; ++i) {
          (*counter) += 17;
          sample_counter(ledger, counter);
        }
      }
    });
    ::usleep(static_cast<useconds_t>(random() % 15'000));
    ::kill(child, SIGKILL);
    wait_for(child);
  }
  auto ledger = Ledger::open(path);
  sample_counter(ledger, counter);
  CHECK(sum_of(ledger)[Quantity::cpu] == (*counter).load());
  CHECK(ledger.notes().empty());
}

TEST_CASE("every step of a sample may be the last of its process") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/ledger.db";
  { auto ledger = Ledger::open(path); }
  uint64_t total = 0;
  for (const char* step : {"lock the ledger", "commit the ledger"}) {
    for (const char* action : {"kill:", "error:"}) {
      total += 100;
      const std::string fault = std::string(action) + step;
      const int status = wait_for(fork_to([&] {
        auto ledger = Ledger::open(path);
        ::setenv("HOLM_FAULT", fault.c_str(), 1);
        add(ledger, sample_of(total));
      }));
      CHECK(status != 0);
      auto ledger = Ledger::open(path);
      CHECK(sum_of(ledger)[Quantity::cpu] == total - 100);
      add(ledger, sample_of(total));
      CHECK(sum_of(ledger)[Quantity::cpu] == total);
    }
  }
}

TEST_CASE("the ledger is its owner's alone, as are the files beside it") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/ledger.db";
  auto ledger = Ledger::open(path);
  add(ledger, sample_of(1));
  for (const std::string& name : list_directory(directory.path())) {
    CAPTURE(name);
    CHECK((sys::stat_path(directory.path() + "/" + name)->st_mode & 0777) == 0600);
  }
  CHECK_FALSE(Ledger::open_to_read(directory.path() + "/other.db"));
  CHECK_FALSE(sys::exists(directory.path() + "/other.db"));
}

TEST_CASE("a damaged ledger is moved aside whole, told, and a new one begun") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/ledger.db";
  SUBCASE("it is no database at all") { write_file_durably(path, std::string(5000, 'x')); }
  SUBCASE("its pages were overwritten") {
    {
      auto ledger = Ledger::open(path);
      add(ledger, sample_of(1));
      ledger.roll_up({}, 0, {});
    }
    {
      const Database database(path, Database::Access::write);
      database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    }
    const UniqueFd file = sys::open(path, O_WRONLY);
    const std::string garbage(3000, '\x5a');
    for (off_t page = 1; page < sys::stat_path(path)->st_size / 4096; ++page)
      CHECK(::pwrite(file.get(), garbage.data(), garbage.size(), page * 4096) ==
            static_cast<ssize_t>(garbage.size()));
  }
  const std::string damaged = read_file(path);
  auto ledger = Ledger::open(path);
  add(ledger, sample_of(300));
  REQUIRE(ledger.notes().size() == 1);
  CHECK(ledger.notes()[0].starts_with("the ledger was damaged ("));
  const auto aside = ledgers_set_aside(path);
  REQUIRE(aside.size() == 1);
  CHECK(ledger.notes()[0].find("moved to '" + aside[0] + "'") != std::string::npos);
  CHECK(read_file(aside[0]) == damaged);
  CHECK(sum_of(ledger)[Quantity::cpu] == 300);
  auto again = Ledger::open(path);
  CHECK(again.notes().empty());
  CHECK(sum_of(again)[Quantity::cpu] == 300);
}

TEST_CASE("a ledger of a newer Holm, or another program's file, is refused and left as it is") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/ledger.db";
  {
    auto ledger = Ledger::open(path);
    add(ledger, sample_of(5));
  }
  Database(path, Database::Access::write).execute("PRAGMA user_version = 2");
  CHECK(message_of([&] { Ledger::open(path); }) ==
        fmt::format("'{}' was written by a newer version of Holm", path));
  CHECK(message_of([&] { Ledger::open_to_read(path); }).find("newer version") != std::string::npos);
  Database(path, Database::Access::write).execute("PRAGMA user_version = 1");
  CHECK(sum_of(Ledger::open(path))[Quantity::cpu] == 5);

  const std::string other = directory.path() + "/other.db";
  Database(other, Database::Access::write).execute("CREATE TABLE mail (text)");
  CHECK(message_of([&] { Ledger::open(other); }) == fmt::format("'{}' is another program's database", other));
  CHECK(ledgers_set_aside(other).empty());
}

TEST_CASE("a start of a ledger that was interrupted is finished by the next") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/ledger.db";
  for (const char* step : {"lock the ledger", "commit the ledger"}) {
    const std::string fault = std::string("kill:") + step;
    CHECK(wait_for(fork_to([&] {
            ::setenv("HOLM_FAULT", fault.c_str(), 1);
            Ledger::open(path);
          })) != 0);
    CHECK_FALSE(Ledger::open_to_read(path));
  }
  auto ledger = Ledger::open(path);
  add(ledger, sample_of(5));
  CHECK(sum_of(*Ledger::open_to_read(path))[Quantity::cpu] == 5);
}

TEST_CASE("a disk that is full takes nothing, and what was used meanwhile is counted later") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/ledger.db";
  {
    auto ledger = Ledger::open(path);
    add(ledger, sample_of(100));
  }
  const int status = wait_for(fork_to([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    auto ledger = Ledger::open(path);
    const rlimit none = {.rlim_cur = 4096, .rlim_max = RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &none);
    add(ledger, sample_of(250));
  }));
  CHECK(status != 0);
  auto ledger = Ledger::open(path);
  CHECK(ledger.notes().empty());
  CHECK(sum_of(ledger)[Quantity::cpu] == 100);
  add(ledger, sample_of(300));
  CHECK(sum_of(ledger)[Quantity::cpu] == 300);
}

TEST_CASE("hours become days and days months, and every sum stays as it was") {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/ledger.db";
  auto ledger = Ledger::open(path, Durability::until_reboot);
  FakeContainer web("0d5f7c2e-0000-4000-8000-000000000001", "web");
  FakeContainer mail("0d5f7c2e-0000-4000-8000-000000000002", "mail");
  std::mt19937_64 random(5);
  const int64_t begin = parse_moment("2026-01-20", 0).value();
  for (FakeContainer* box : {&web, &mail}) {
    box->walltime_ns = begin * kSecond;
    box->start();
  }
  for (int i = 0; i < 90 * 4; ++i) {
    for (FakeContainer* box : {&web, &mail}) {
      box->memory = random() % (1 << 30);
      box->use(random() % 1'000'000'000'000, random() % 1'000'000);
      box->pass(6 * kHour);
      add(ledger, box->sample());
    }
  }
  const int64_t now = begin + 90 * kDay;
  const UsageSums before = sum_of(ledger);
  const auto by_month = ledger.usage({.by = Span::month});
  CHECK(ledger.usage({.by = Span::hour}).size() == 2 * 90 * 24);
  const LedgerRetention retention{.hours_days = 10, .days_days = 40, .months_months = 24};
  const std::vector<std::string> both = {web.uuid(), mail.uuid()};
  for (int i = 0; i < 2; ++i) {  // the second finds nothing to do
    ledger.roll_up(retention, now, both);
    CHECK(sum_of(ledger) == before);
    const auto months = ledger.usage({.by = Span::month});
    REQUIRE(months.size() == by_month.size());
    for (size_t at = 0; at < months.size(); ++at) CHECK(months[at].sums == by_month[at].sums);
  }
  // Ten days of hours; days back to the begin of the month that is 40 days ago; before that, months.
  std::map<Span, int> count;
  for (const UsageRow& row : ledger.usage({.uuids = {web.uuid()}, .by = Span::hour})) ++count[*row.span];
  CHECK(count[Span::hour] == 10 * 24);
  CHECK(count[Span::day] == 80 - 12 - 28);
  CHECK(count[Span::month] == 2);

  // A sum over a part that cuts a month in two says so.
  const auto cut = ledger.straddling(parse_moment("2026-02-10", 0).value());
  REQUIRE(cut);
  CHECK(format_period(*cut->span, cut->begin) == "2026-02");
  CHECK_FALSE(ledger.straddling(parse_moment("2026-02-01", 0).value()));
  CHECK(ledger.straddling(parse_moment("2026-03-10T05:00", 0).value()));
  CHECK_FALSE(ledger.straddling(parse_moment("2026-03-10", 0).value()));

  // Usage that comes late, for hours that are days by now, is added to them.
  web.pass(80 * 24 * kHour);
  web.use(999, 0);
  add(ledger, web.sample());
  const UsageSums later = sum_of(ledger);
  ledger.roll_up(retention, now + 80 * kDay, both);
  CHECK(sum_of(ledger) == later);
}

TEST_CASE("what is older than all that is kept goes, and with it who is gone") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer web("0d5f7c2e-0000-4000-8000-000000000001", "web");
  web.walltime_ns = parse_moment("2026-01-20", 0).value() * kSecond;
  web.start();
  web.use(5, 0);
  web.pass(kHour);
  add(ledger, web.sample());
  const LedgerRetention retention{.hours_days = 1, .days_days = 31, .months_months = 3};
  ledger.roll_up(retention, parse_moment("2026-04-20", 0).value(), {});
  CHECK(sum_of(ledger)[Quantity::cpu] == 5);
  CHECK(ledger.containers().size() == 1);
  ledger.roll_up(retention, parse_moment("2026-05-20", 0).value(), {});
  CHECK(ledger.usage({}).empty());
  CHECK(ledger.containers().empty());
}

TEST_CASE("a container that is destroyed and made anew under its name is another one") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  for (const char* uuid : {"0d5f7c2e-0000-4000-8000-000000000001", "0d5f7c2e-0000-4000-8000-000000000002"}) {
    FakeContainer box(uuid, "web");
    box.start();
    box.use(5, 0);
    add(ledger, box.sample());
  }
  CHECK(ledger.usage({}).size() == 2);
  ledger.write([](LedgerWriter& writer) { writer.rename("0d5f7c2e-0000-4000-8000-000000000001", "old"); });
  CHECK(ledger.usage({})[0].name == "old");
  CHECK(ledger.usage({.uuids = {"0d5f7c2e-0000-4000-8000-000000000002"}}).size() == 1);
}
