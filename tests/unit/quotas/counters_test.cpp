// The table of counters: rows, columns, units, and what adds up over several runs.
#include "quotas/counters.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>

#include "quotas/beancounters.h"
#include "tests/support/beancounter_reader.h"

using namespace holm::quotas;
using holm::test::read_beancounters;

namespace {

const std::vector<std::string> kOrder = {
    "kmemsize",     "lockedpages", "privvmpages",  "shmpages",   "numproc",    "physpages", "vmguarpages",
    "oomguarpages", "numtcpsock",  "numflock",     "numpty",     "numsiginfo", "tcpsndbuf", "tcprcvbuf",
    "othersockbuf", "dgramrcvbuf", "numothersock", "dcachesize", "numfile",    "numiptent", "swappages"};

uint64_t page() { return static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)); }

Counter get(const Counters& counters, const std::string& resource) {
  for (const Counter& counter : counters)
    if (counter.resource == resource) return counter;
  FAIL("no row " << resource);
  return {};
}

bool has(const Counters& counters, const std::string& resource) {
  return std::any_of(counters.begin(), counters.end(),
                     [&](const Counter& counter) { return counter.resource == resource; });
}

}  // namespace

TEST_CASE("a container of which nothing is known has OpenVZ's rows in its order, and none of Holm's") {
  std::vector<std::string> resources;
  for (const Counter& counter : make_counters({}, {})) {
    resources.push_back(counter.resource);
    CHECK(counter == Counter{counter.resource});
  }
  CHECK(resources == kOrder);
}

TEST_CASE("memory is shown in pages, kernel memory in bytes") {
  Facts facts;
  facts.memory = 100 * page();
  facts.memory_peak = 200 * page() + 1;
  facts.memory_barrier = 250 * page();
  facts.memory_limit = 300 * page();
  facts.memory_refused = 7;
  facts.kernel_memory = 12345;
  const Counters counters = make_counters(facts, {});
  CHECK(get(counters, "physpages") == Counter{"physpages", 100, 200, 250, 300, 7});
  CHECK(get(counters, "kmemsize") == Counter{"kmemsize", 12345, 12345});
}

TEST_CASE("without a barrier the limit is the first thing that a container meets") {
  Facts facts;
  facts.memory_limit = 300 * page();
  facts.processes = 3;
  facts.processes_limit = 64;
  facts.processes_refused = 2;
  const Counters counters = make_counters(facts, {});
  CHECK(get(counters, "physpages") == Counter{"physpages", 0, 0, 300, 300, 0});
  CHECK(get(counters, "numproc") == Counter{"numproc", 3, 3, 64, 64, 2});
}

TEST_CASE("a guarantee is a barrier without limit, and 0 where there is none") {
  Facts facts;
  facts.memory_guarantee = 0;
  CHECK(get(make_counters(facts, {}), "vmguarpages") == Counter{"vmguarpages", 0, 0, 0, kUnlimited, 0});
  facts.memory_guarantee = 8 * page();
  CHECK(get(make_counters(facts, {}), "vmguarpages") == Counter{"vmguarpages", 0, 0, 8, kUnlimited, 0});
}

TEST_CASE("the peak is never below what is held now") {
  Facts facts;
  facts.processes = 9;
  facts.processes_peak = 8;  // read a moment earlier
  CHECK(get(make_counters(facts, {}), "numproc").maxheld == 9);
}

TEST_CASE("each interface has its rows, named as inside") {
  const Counters counters = make_counters({}, {{"eth0", 1000, 10, 2000, 20}, {"lan", 1, 2, 3, 4}});
  CHECK(get(counters, "netrx.eth0") == Counter{"netrx.eth0", 1000, 1000});
  CHECK(get(counters, "nettx.eth0").held == 2000);
  CHECK(get(counters, "netrxpackets.eth0").held == 10);
  CHECK(get(counters, "nettxpackets.lan").held == 4);
  CHECK(std::string(unit_of("netrx.eth0")) == "bytes");
  CHECK(std::string(unit_of("nettxpackets.lan")) == "pieces");
  CHECK(std::string(unit_of("physpages")) == "pages");
  CHECK(std::string(unit_of("cputime")) == "ns");
}

TEST_CASE("a kill for want of memory is told in three rows") {
  Facts facts;
  facts.memory_refused = 3;
  facts.oom_kills = 2;
  const Counters counters = make_counters(facts, {});
  CHECK(get(counters, "physpages").failcnt == 3);
  CHECK(get(counters, "oomguarpages").failcnt == 2);
  CHECK(get(counters, "oomkills") == Counter{"oomkills", 2, 2, kUnlimited, kUnlimited, 2});
}

TEST_CASE("the text is OpenVZ's to the byte") {
  const std::vector<ContainerCounters> containers = {
      {101, {{"kmemsize", 836919, 1005343, 2752512, 2936012, 0}, {"lockedpages", 0, 0, 32, 32, 0}}},
      {7, {{"physpages", 2267, 2399, 0, kUnlimited, 12}, {"netrxpackets.eth0", 5, 5}}}};
  CHECK(
      format_beancounters(containers) ==
      "Version: 2.5\n"
      "       uid  resource                     held              maxheld              barrier               "
      " "
      "limit              failcnt\n"
      "       101: kmemsize                   836919              1005343              2752512              "
      "2936012                    0\n"
      "            lockedpages                     0                    0                   32               "
      "    "
      "32                    0\n"
      "         7: physpages                    2267                 2399                    0  "
      "9223372036854775807                   12\n"
      "            netrxpackets.eth0                    5                    5  9223372036854775807  "
      "9223372036854775807                    0\n");
}

TEST_CASE("a strict reader takes the whole table") {
  Facts facts;
  facts.memory = 4096 * page();
  facts.cpu_time = 123'456'789'012'345;
  facts.disk_bytes = 1 << 30;
  facts.throttled_time = facts.oom_kills = facts.read_bytes = facts.write_bytes = facts.reads = facts.writes =
      1;
  facts.disk_inodes = 10;
  const Counters counters = make_counters(facts, {{"eth0", 1, 2, 3, 4}});
  const auto table = read_beancounters(format_beancounters({{7, counters}, {8, counters}}));
  CHECK(table.containers.size() == 2);
  CHECK(table.order.at(7).size() == counters.size());
  CHECK(std::vector(table.order.at(8).begin(), table.order.at(8).begin() + 21) == kOrder);
  CHECK(table.containers.at(7).at("cputime").held == 123'456'789'012'345);
  CHECK(table.containers.at(7).at("physpages").held == 4096);
  CHECK(table.containers.at(7).at("physpages").limit == 9223372036854775807);
}

TEST_CASE("what no long can hold is unlimited") {
  Facts facts;
  facts.kernel_memory = ~uint64_t{0};
  CHECK(get(make_counters(facts, {}), "kmemsize").held == kUnlimited);
}

TEST_CASE("the table is read back as it was written, and nothing else is taken for one") {
  const std::vector<ContainerCounters> containers = {{7, make_counters({}, {{"eth0", 1, 2, 3, 4}})}};
  const std::string text = format_beancounters(containers);
  const auto read = parse_beancounters(text);
  REQUIRE(read);
  CHECK(read->size() == 1);
  CHECK(read->front().number == 7);
  CHECK(read->front().counters == containers[0].counters);
  CHECK(parse_beancounters(format_beancounters({}))->empty());
  for (const std::string& other :
       {std::string(), std::string("Version: 2.5\n"), "Version: 2.6\n" + text.substr(13), text + "x\n",
        text + "  kmemsize 1 2 3 4\n", text + "  kmemsize 1 2 3 4 -5\n", text.substr(0, text.size() - 2)}) {
    CAPTURE(other);
    const auto parsed = parse_beancounters(other);
    if (other.size() + 2 == text.size()) continue;  // a shorter last number is a number
    CHECK_FALSE(parsed.has_value());
  }
}

TEST_CASE("over several runs totals and failcnt add up, and the largest maxheld stays") {
  const Counters base = {{"physpages", 50, 90, 100, 100, 3}, {"cputime", 1000, 1000}, {"numproc", 4, 40}};
  const Counters now = {{"physpages", 20, 30, 200, 200, 1}, {"cputime", 500, 500}, {"numproc", 5, 60}};
  const Counters merged = merge(base, now);
  CHECK(merged.size() == 3);
  CHECK(get(merged, "physpages") == Counter{"physpages", 20, 90, 200, 200, 4});
  CHECK(get(merged, "cputime") == Counter{"cputime", 1500, 1500});
  CHECK(get(merged, "numproc") == Counter{"numproc", 5, 60});
  CHECK(merge({}, now) == now);
}

TEST_CASE("what only earlier runs had is kept, but not held") {
  const Counters base = {{"netrx.eth1", 70, 70}, {"numpty", 3, 5, 10, 10, 1}};
  const Counters merged = merge(base, {{"cputime", 1, 1}});
  CHECK(get(merged, "netrx.eth1") == Counter{"netrx.eth1", 70, 70});
  CHECK(merged.size() == 2);  // how many terminals there are now was not asked
  CHECK(merged.front().resource == "cputime");
}

TEST_CASE("sums stay numbers that a reader can take") {
  const Counters merged = merge({{"cputime", kUnlimited, kUnlimited}}, {{"cputime", 5, 5}});
  CHECK(get(merged, "cputime").held == kUnlimited);
}

TEST_CASE("a difference has the totals and refusals of the time between, and what is held now") {
  const Counters before = {{"cputime", 100, 100}, {"physpages", 50, 60, 70, 70, 2}, {"netrx.eth0", 10, 10}};
  const Counters now = {{"cputime", 130, 130}, {"physpages", 40, 65, 70, 70, 5}, {"netrx.eth0", 3, 3}};
  const Counters between = difference(before, now);
  CHECK(get(between, "cputime") == Counter{"cputime", 30, 30});
  CHECK(get(between, "physpages") == Counter{"physpages", 40, 65, 70, 70, 3});
  CHECK(get(between, "netrx.eth0").held == 3);  // it began anew
  CHECK(difference({}, now) == now);
}

TEST_CASE("notable is what was refused or is near what is allowed") {
  CHECK_FALSE(is_notable({"physpages", 80, 100, 100, 100, 0}));
  CHECK(is_notable({"physpages", 81, 100, 100, 100, 0}));
  CHECK(is_notable({"physpages", 81, 81, 100, 1000, 0}));  // the barrier counts
  CHECK(is_notable({"physpages", 0, 0, 100, 100, 1}));
  CHECK_FALSE(is_notable({"swappages", 0, 0, 0, 0, 0}));
  CHECK_FALSE(is_notable({"vmguarpages", 0, 0, 0, kUnlimited, 0}));
  CHECK_FALSE(is_notable({"cputime", kUnlimited - 1, kUnlimited - 1}));
  CHECK_FALSE(has(make_counters({}, {}), "cputime"));
}
