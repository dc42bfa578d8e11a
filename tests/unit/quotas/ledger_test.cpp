// Sums of the ledger: exact, whatever happens between two samples.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <random>

#include "base/error.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/quotas/fake_usage.h"

using namespace holm;
using namespace holm::quotas;
using namespace holm::test;

namespace doctest {
template <>
struct StringMaker<Wide> {
  static String convert(Wide value) { return format_wide(value).c_str(); }
};
}  // namespace doctest

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kHour = 3600 * kSecond;
constexpr uint64_t kMiB = 1 << 20;

struct Interrupted {};

// As a process that was killed before it committed.
void add_and_fail(Ledger& ledger, const LedgerSample& sample) {
  CHECK_THROWS_AS(ledger.write([&](LedgerWriter& writer) {
    writer.add(sample);
    throw Interrupted();
  }),
                  Interrupted);
}

}  // namespace

TEST_CASE("a run that nobody looked at when it began is counted from its begin") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer box;
  box.start();
  box.use(123'456'789, 42);
  box.pass(10 * kSecond);
  add(ledger, box.sample());
  CHECK(sum_of(ledger)[Quantity::cpu] == 123'456'789);
  CHECK(sum_of(ledger)[Quantity::uptime] == 10 * kSecond);
  add(ledger, box.sample());  // nothing has happened since
  CHECK(sum_of(ledger)[Quantity::cpu] == 123'456'789);
  CHECK(sum_of(ledger)[Quantity::uptime] == 10 * kSecond);
}

TEST_CASE("any sequence of use, samples, failures, restarts and clock steps is summed exactly") {
  std::mt19937_64 random(7);
  const auto one_of = [&](uint64_t count) { return random() % count; };
  for (int round = 0; round < 20; ++round) {
    const TemporaryDirectory directory;
    auto ledger = Ledger::open(directory.path() + "/ledger.db", Durability::until_reboot);
    FakeContainer box;
    box.start();
    for (int i = 0; i < 120; ++i) {
      box.memory = one_of(1 << 30);
      if (box.is_running()) box.use(one_of(5'000'000'000), one_of(1 << 20));
      box.pass(static_cast<int64_t>(one_of(3 * kHour)));
      switch (one_of(8)) {
        case 0:
          box.walltime_ns += static_cast<int64_t>(one_of(20 * kHour)) - 10 * kHour;
          break;
        case 1:
          add_and_fail(ledger, box.sample());
          break;
        case 2:  // whoever ends a run samples it, if need be after a failure
          add_and_fail(ledger, box.sample());
          box.stop();
          add(ledger, box.sample());
          box.pass(static_cast<int64_t>(one_of(kHour)));
          box.start();
          break;
        case 3:
          add(ledger, box.sample());
          box.reboot_host();
          box.pass(kSecond);
          box.start();
          break;
        case 4:
          ledger = Ledger::open(directory.path() + "/ledger.db", Durability::until_reboot);
          break;
        default:
          add(ledger, box.sample());
      }
    }
    add(ledger, box.sample());
    const UsageSums sums = sum_of(ledger);
    REQUIRE(sums[Quantity::cpu] == box.truth[Quantity::cpu]);
    REQUIRE(sums[Quantity::net_received_bytes] == box.truth[Quantity::net_received_bytes]);
    REQUIRE(sums[Quantity::uptime] == box.truth[Quantity::uptime]);
    for (const UsageRow& row : ledger.usage({.by = Span::hour}))
      for (const Wide value : row.sums.values) REQUIRE(value >= 0);
    // The same by any period, and in adjoining parts of the time.
    for (const Span by : {Span::hour, Span::day, Span::month}) REQUIRE(sum_of(ledger, {.by = by}) == sums);
    const int64_t middle = begin_of(Span::hour, box.walltime_ns / kSecond - 40 * 3600);
    UsageSums halves = sum_of(ledger, {.until = middle});
    halves += sum_of(ledger, {.since = middle});
    REQUIRE(halves == sums);
  }
}

TEST_CASE("time comes from the clock that cannot be set, hours from the one that can") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer box;
  box.walltime_ns = parse_moment("2026-11-20T14:50", 0).value() * kSecond;
  box.start();
  box.use(60, 0);
  box.pass(20 * 60 * kSecond);
  add(ledger, box.sample());
  auto rows = ledger.usage({.by = Span::hour});
  REQUIRE(rows.size() == 2);
  CHECK(format_moment(rows[0].begin) == "2026-11-20T14:00Z");
  CHECK(rows[0].sums[Quantity::uptime] == 10 * 60 * kSecond);
  CHECK(rows[0].sums[Quantity::cpu] == 30);
  CHECK(rows[1].sums[Quantity::cpu] == 30);
  // Back by a day: the time since the last sample is still ten minutes.
  box.walltime_ns -= 24 * kHour;
  box.pass(10 * 60 * kSecond);
  add(ledger, box.sample());
  rows = ledger.usage({.by = Span::hour});
  REQUIRE(rows.size() == 3);
  CHECK(format_moment(rows[0].begin) == "2026-11-19T15:00Z");
  CHECK(rows[0].sums[Quantity::uptime] == 10 * 60 * kSecond);
  CHECK(sum_of(ledger)[Quantity::uptime] == 30 * 60 * kSecond);
}

TEST_CASE("a counter that ran backwards within its life is told, and counted from zero") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer box;
  box.start();
  auto sample = box.sample();
  const auto total_is = [&](uint64_t total) {
    std::vector<std::string> warnings;
    sample.meters = {{Quantity::io_read_bytes, "io 8:0", "boot1/1", total}};
    ledger.write([&](LedgerWriter& writer) { warnings = writer.add(sample); });
    return warnings;
  };
  CHECK(total_is(1000).empty());
  CHECK(total_is(300) ==
        std::vector<std::string>{
            "io_read_bytes of 'io 8:0' ran backwards from 1000 to 300: counted from zero again"});
  CHECK(total_is(500).empty());
  CHECK(sum_of(ledger)[Quantity::io_read_bytes] == 1500);
}

TEST_CASE("memory over time is the mean of both ends, and a rest is carried on") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer box;
  box.memory = 64 * kMiB;
  box.start();
  box.pass(10 * kSecond);
  add(ledger, box.sample());  // what it held before is not known: as much
  CHECK(sum_of(ledger)[Quantity::memory_time] == 10 * 64 * 1024);
  box.memory = 128 * kMiB;
  box.pass(10 * kSecond);
  add(ledger, box.sample());
  CHECK(sum_of(ledger)[Quantity::memory_time] == (640 + 960) * 1024);
  // What is left in the group after the end was not held for the time before.
  box.memory = 4096;
  box.pass(10 * kSecond);
  box.stop();
  add(ledger, box.sample());
  CHECK(sum_of(ledger)[Quantity::memory_time] == (640 + 960 + 1280) * 1024);
  // A third of a second, three hundred times.
  box.start();
  box.memory = 1024;
  for (int i = 0; i < 300; ++i) {
    box.pass(333'333'333);
    add(ledger, box.sample());
  }
  CHECK(sum_of(ledger)[Quantity::memory_time] == (640 + 960 + 1280) * 1024 + 99);
  box.pass(100);
  add(ledger, box.sample());
  CHECK(sum_of(ledger)[Quantity::memory_time] == (640 + 960 + 1280) * 1024 + 100);
}

TEST_CASE("a TiB for ten years, and a thousand of those, fit") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db", Durability::until_reboot);
  const auto add_years = [&](const std::string& uuid) {
    FakeContainer box(uuid);
    box.memory = uint64_t{1} << 40;
    box.start();
    for (int year = 0; year < 10; ++year) {
      box.use(365 * 24 * uint64_t{kHour} * 16, 0);  // 16 CPUs
      box.pass(365 * 24 * kHour);
      add(ledger, box.sample());
    }
    return box.truth;
  };
  UsageSums truth = add_years("0d5f7c2e-0000-4000-8000-000000000001");
  truth += add_years("0d5f7c2e-0000-4000-8000-000000000002");
  const UsageSums sums = sum_of(ledger);
  CHECK(sums[Quantity::cpu] == truth[Quantity::cpu]);
  CHECK(format_wide(sums[Quantity::cpu]) == "10091520000000000000");
  CHECK(format_wide(sums[Quantity::memory_time]) == fmt::format("{}", 2 * (uint64_t{1} << 30) * 315'360'000));
  CHECK(format_wide(-sums[Quantity::cpu]) == "-10091520000000000000");
}

TEST_CASE("a peak is of the time in which it rose, what was held of all of it") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer box;
  box.walltime_ns = parse_moment("2026-11-20T14:00", 0).value() * kSecond;
  box.start();
  const auto sample_after_an_hour = [&](uint64_t held, uint64_t peak) {
    box.memory = held * kMiB;
    box.peak = peak * kMiB;
    box.pass(kHour);
    add(ledger, box.sample());
  };
  sample_after_an_hour(10, 50);
  sample_after_an_hour(20, 50);
  sample_after_an_hour(5, 60);
  std::vector<uint64_t> peaks;
  for (const UsageRow& row : ledger.usage({.by = Span::hour}))
    peaks.push_back(row.sums.memory_peak_bytes / kMiB);
  CHECK(peaks == std::vector<uint64_t>{50, 20, 60});
  CHECK(sum_of(ledger).memory_peak_bytes == 60 * kMiB);
}

TEST_CASE("a run whose end nobody saw counts what the kernel counted, and time as far as it was seen") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer box;
  box.start();
  box.pass(10 * kSecond);
  add(ledger, box.sample());
  box.use(777, 0);
  box.pass(kHour);
  auto late = box.sample();
  late.run.reset();
  add(ledger, late);
  CHECK(sum_of(ledger)[Quantity::cpu] == 777);
  CHECK(sum_of(ledger)[Quantity::uptime] == 10 * kSecond);
  // Two who look at the same end do not agree about its moment to the nanosecond.
  box.start();
  box.pass(kSecond);
  auto first = box.sample(), second = first;
  second.run->until_ns -= 100;
  add(ledger, first);
  add(ledger, second);
  CHECK(sum_of(ledger)[Quantity::uptime] == 11 * kSecond);
}

TEST_CASE("a sample that was kept is counted once, in its place, however often it is added") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer box;
  box.start();
  box.use(100, 0);
  box.pass(10 * kSecond);
  add(ledger, box.sample());
  box.use(50, 0);
  box.pass(5 * kSecond);
  box.stop();
  const KeptSample kept{"a", box.sample()};
  box.start();
  box.use(7, 0);
  box.pass(kSecond);
  for (int i = 0; i < 3; ++i) {
    ledger.write([&](LedgerWriter& writer) {
      writer.add_kept(kept);
      writer.add(box.sample());
    });
    CHECK(sum_of(ledger)[Quantity::cpu] == 157);
    CHECK(sum_of(ledger)[Quantity::uptime] == 16 * kSecond);
  }
  // One that was kept although another process had already counted more of the same life.
  const KeptSample older{"b", box.sample()};
  box.use(3, 0);
  box.pass(kSecond);
  add(ledger, box.sample());
  ledger.write([&](LedgerWriter& writer) { writer.add_kept(older); });
  add(ledger, box.sample());
  CHECK(sum_of(ledger)[Quantity::cpu] == 160);
  CHECK(sum_of(ledger)[Quantity::uptime] == 17 * kSecond);
}

TEST_CASE("counters' totals are summed over runs, and what looks have seen is kept") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer box;
  const auto run_with = [&](std::vector<uint64_t> totals) {
    box.start();
    std::string life;
    for (const uint64_t total : totals) {
      auto sample = box.sample();
      sample.counters = {{"cputime", total, total, 0}};
      add(ledger, sample);
      life = sample.counters_life;
    }
    return life;
  };
  run_with({10, 70});
  run_with({5});
  const std::string now = run_with({100, 110});
  CHECK(ledger.counter_bases(box.uuid(), now).at(0).held == 75);
  CHECK(ledger.counter_bases(box.uuid(), "another life").at(0).held == 185);

  const auto look = [&](uint64_t files) {
    ledger.write([&](auto& writer) {
      writer.add_peaks(box.uuid(), box.sample().name, now, {{"numfile", files, files, 0}});
    });
    return ledger.counter_bases(box.uuid(), now).at(1).peak;
  };
  CHECK(look(30) == 30);
  CHECK(look(7) == 30);
  CHECK(look(31) == 31);
}

TEST_CASE("what was counted elsewhere is added as far as it is not known, wherever it comes from next") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer box;
  const auto bring = [&](uint64_t time) {
    ledger.write([&](LedgerWriter& writer) {
      writer.bring_counters(box.uuid(), "box", {{"cputime", time, time, 0}, {"physpages", 3, 80, 4}});
    });
  };
  const auto total = [&] {
    const CounterBase base = ledger.counter_bases(box.uuid(), "another life").at(0);
    CHECK(base.name == "cputime");
    return base.held;
  };
  bring(1000);
  bring(1000);  // of a restore that failed, and was tried again
  CHECK(total() == 1000);
  const auto count = [&](uint64_t time) {
    auto sample = box.sample();
    sample.counters = {{"cputime", time, time, 0}};
    add(ledger, sample);
  };
  box.start();
  count(70);
  CHECK(total() == 1070);
  bring(1000);  // an older file
  CHECK(total() == 1070);
  bring(1500);  // it was away
  CHECK(total() == 1500);
  box.start();
  count(5);
  CHECK(total() == 1505);
  CHECK(ledger.counter_bases(box.uuid(), "another life").at(1).peak == 80);
  CHECK(ledger.counter_bases(box.uuid(), "another life").at(1).failures == 4);
  CHECK(sum_of(ledger)[Quantity::cpu] == 0);  // it was not used here
}

TEST_CASE("what a sum loses within a run, as one of its parts goes, is not counted twice") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer box;
  box.start();
  std::string life;
  const auto read = [&](uint64_t held, uint64_t failures) {
    auto sample = box.sample();
    sample.counters = {{"diskread", held, held, failures}};
    add(ledger, sample);
    life = sample.counters_life;
    return ledger.counter_bases(box.uuid(), life).at(0);
  };
  CHECK(read(1500, 3).run_held == 1500);
  const auto base = read(1000, 2);  // a device of which 500 were, and a group that was refused once
  CHECK(base.held == 500);
  CHECK(base.failures == 1);
  CHECK(base.run_held == 1000);
  CHECK(base.run_failures == 2);
  CHECK(read(1100, 2).held == 500);
  CHECK(ledger.counter_bases(box.uuid(), "another life").at(0).held == 1600);
}

TEST_CASE("a sample that may be the older one adds nothing where it is") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer box;
  box.start();
  auto sample = box.sample();
  sample.meters = {{Quantity::cpu, "cpu", "boot/1", 100}};
  add(ledger, sample);
  sample.meters[0].total = 90;
  std::vector<std::string> warnings;
  ledger.write([&](auto& writer) { warnings = writer.add(sample, LedgerWriter::Origin::kept); });
  CHECK(warnings.empty());
  CHECK(ledger.usage({})[0].sums[Quantity::cpu] == 100);
}

TEST_CASE("counters keep their peaks and failures over runs") {
  const TemporaryDirectory directory;
  auto ledger = Ledger::open(directory.path() + "/ledger.db");
  FakeContainer box;
  box.start();
  const auto read = [&](uint64_t held, uint64_t peak, uint64_t failures) {
    auto sample = box.sample();
    sample.counters = {{"physpages", held, peak, failures}};
    add(ledger, sample);
    return sample.counters_life;
  };
  read(10, 90, 1);
  const std::string first = read(20, 90, 3);
  CHECK(ledger.counter_bases(box.uuid(), first).at(0).peak == 90);
  CHECK(ledger.counter_bases(box.uuid(), first).at(0).failures == 0);
  box.start();
  const std::string second = read(5, 40, 2);
  auto base = ledger.counter_bases(box.uuid(), second).at(0);
  CHECK(base.name == "physpages");
  CHECK(base.peak == 90);
  CHECK(base.failures == 3);
  // Before the third run is sampled for the first time, all of the second is an earlier one's.
  base = ledger.counter_bases(box.uuid(), "another life").at(0);
  CHECK(base.peak == 90);
  CHECK(base.failures == 5);
  CHECK(ledger.counter_bases("unknown", "").empty());
}
