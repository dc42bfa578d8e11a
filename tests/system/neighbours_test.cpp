// A container beside one that does its worst keeps its share: of the CPU, of the disk, of memory.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "tests/support/inside.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr const char* kIdle = "command = [\"/bin/sleep\", \"1000\"]\n";

std::string with_load() { return mount_entry(built_program("container_load"), "/load"); }

std::string load(const std::vector<std::string>& words, const std::string& more) {
  return "command = " + json(words).dump() + "\n" + more + with_load();
}

// Both on one CPU, which each has a right to half of.
long last_cpu() { return ::sysconf(_SC_NPROCESSORS_ONLN) - 1; }
std::string on_last_cpu() { return fmt::format("[cpu]\npin = \"{}\"\n", last_cpu()); }

// What the machine that emulates this one, or runs it beside others, took from the last CPU: nothing here
// could share that out. Seconds since the boot: proc_stat(5).
double stolen_seconds() {
  for (const std::string& line : split(read_file("/proc/stat"), '\n'))
    if (const auto words = split_words(line);
        words.size() > 8 && words[0] == fmt::format("cpu{}", last_cpu()))
      return static_cast<double>(parse_unsigned(words[8]).value_or(0)) /
             static_cast<double>(::sysconf(_SC_CLK_TCK));
  return 0;
}

struct Work {
  double rounds = 0;
  double cpu_seconds = 0;  // that the victim had
  double seconds = 0;      // that there were
  Work& operator+=(const Work& other) {
    rounds += other.rounds;
    cpu_seconds += other.cpu_seconds;
    seconds += other.seconds;
    return *this;
  }
};

double cpu_seconds(const Installation& installation) {
  return json::parse(installation.holm_ok({"--json", "list", "victim"}))[0]["cpu_time_ns"].get<double>() /
         1e9;
}

// What `/load WORDS... MILLISECONDS` does in the victim.
Work work(const Installation& installation, const std::vector<std::string>& words) {
  std::vector<std::string> command = {"exec", "victim", "/load"};
  command.insert(command.end(), words.begin(), words.end());
  const double cpu = cpu_seconds(installation), stolen = stolen_seconds();
  const std::string text = installation.holm_ok(command);
  const double rounds = std::strtod(text.c_str(), nullptr);
  REQUIRE(rounds > 0);
  return {rounds, cpu_seconds(installation) - cpu,
          std::stod(words.back()) / 1000 - (stolen_seconds() - stolen)};
}

// An emulated CPU stands still now and then, and whoever runs is charged with it. How much gets done in its
// time depends on the machine beside it, and on what is translated anew after each turn: that is only told.
double tolerated() { return patience() > 1 ? 0.7 : 0.9; }
double tolerated_of_work() { return patience() > 1 ? 0 : 0.9; }

struct Pair {
  Work alone, beside;
  Pair& operator+=(const Pair& other) {
    alone += other.alone;
    beside += other.beside;
    return *this;
  }
  // Of the half of a CPU that was the victim's right.
  double share() const { return beside.cpu_seconds / (beside.seconds / 2); }
};
// The hog's begins and ends are in between, so that a slower moment of the machine is in both.
Pair measure(const Installation& installation, const std::string& hog,
             const std::vector<std::string>& words) {
  Pair pair;
  for (int round = 0; round < 2; ++round) {
    pair.alone += work(installation, words);
    installation.start("hog", hog);
    std::this_thread::sleep_for(500ms);  // until it is at its worst
    pair.beside += work(installation, words);
    CHECK(installation.column("hog", "state") == "running");
    installation.holm_ok({"destroy", "--force", "hog"});
  }
  return pair;
}

void check_cpu_share(size_t number, const std::string& what, const std::string& hog) {
  if (!is_in_part(number)) return;
  const Installation installation;
  installation.start("victim", kIdle + on_last_cpu() + with_load());
  Pair pair;
  // The time of an emulated host is coarse: where it shows too little, the mean of more of it counts.
  for (int looks = patience() > 1 ? 3 : 1; looks > 0 && !(pair.share() >= tolerated()); --looks)
    pair += measure(installation, hog, {"work", "1500"});
  const double share = pair.share();
  const double rounds =
      pair.beside.rounds / pair.beside.seconds / (pair.alone.rounds / pair.alone.seconds) * 2;
  MESSAGE(fmt::format("beside {}: {:.1f} % of the fair share of CPU time, {:.1f} % of the work", what,
                      share * 100, rounds * 100));
  CHECK(share >= tolerated());
  CHECK(rounds >= tolerated_of_work());
}

}  // namespace

TEST_CASE("a neighbour that wants all of a CPU leaves the other half") {
  HOLM_REQUIRES("root", have_root());
  check_cpu_share(
      3, "a busy loop",
      load({"/bin/sh", "-c", "for i in 1 2 3 4; do while :; do :; done & done; wait"}, on_last_cpu()));
}

TEST_CASE("a fork bomb next door is not felt") {
  HOLM_REQUIRES("root", have_root());
  check_cpu_share(0, "a fork bomb", load({"/load", "fork-bomb"}, on_last_cpu()) + "[pids]\nlimit = 200\n");
}

TEST_CASE("a packet flood next door is not felt") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("bridge, veth and nftables", have_nat());
  check_cpu_share(
      1, "a packet flood",
      load({"/bin/sh", "-c", "exec /load flood $(ip route | awk '/default/ { print $3 }')"}, on_last_cpu()) +
          "[[network]]\nmode = \"nat\"\n");
}

TEST_CASE("a neighbour that has its pages reclaimed and read again all the time is not felt") {
  HOLM_REQUIRES("root", have_root());
  check_cpu_share(
      2, "a reclaim storm",
      load({"/load", "touch-file", "/var/big", "96"}, on_last_cpu()) + "[memory]\nlimit = \"32M\"\n");
}

TEST_CASE("a disk hog next door is not felt where both have a rate") {
  HOLM_REQUIRES("root", have_root());
  // An emulated host's own speed must not be what is measured.
  const std::string rates =
      fmt::format("[io]\nread = \"{0}M/s\"\nwrite = \"{0}M/s\"\n", patience() > 1 ? 2 : 20);
  const Installation installation;
  const Result started =
      installation.holm({"start", installation.write_config("victim", kIdle + with_load() + rates)});
  HOLM_REQUIRES("a disk below /tmp", started.errors.find("no block device") == std::string::npos);
  answer(
      installation, "victim",
      fmt::format("dd if=/dev/zero of=/var/data bs=1M count={} 2>/dev/null; sync", patience() > 1 ? 8 : 64));
  const Pair pair =
      measure(installation, load({"/load", "hog-disk", "/var"}, rates), {"read-disk", "/var/data", "3000"});
  const double kept = pair.beside.rounds / pair.alone.rounds;
  MESSAGE(fmt::format("beside a disk hog: {:.1f} % of its rate", kept * 100));
  CHECK(kept >= tolerated());
}

// --- on a host that is the tests' own

namespace {

uint64_t kibibytes_of(const char* file, const std::string& key) {
  for (const std::string& line : split(read_file(file), '\n'))
    if (line.starts_with(key + ":")) return parse_unsigned(split_words(line)[1]).value_or(0);
  return 0;
}

// A file of swap, until the end of the scope.
class Swap {
 public:
  explicit Swap(const std::string& file) : file_(file) {
    const Result made =
        run_host({"/bin/sh", "-c",
                  "dd if=/dev/zero of=" + file + " bs=1M count=256 2>/dev/null && chmod 600 " + file +
                      " && mkswap -q " + file + " && swapon " + file});
    REQUIRE_MESSAGE(made.status == 0, made.errors);
  }
  ~Swap() { run_host({"/bin/sh", "-c", "swapoff " + file_ + "; rm -f " + file_}); }
  Swap(const Swap&) = delete;
  Swap& operator=(const Swap&) = delete;

 private:
  std::string file_;
};

// Under systemd a guarantee is kept as far as the slice has one, which is its administrator's to give: a
// warning has the command. Taken back at the end of the scope.
class ProtectedSlice {
 public:
  explicit ProtectedSlice(const std::string& warning) {
    const size_t at = warning.find("systemctl set-property ");
    if (at == std::string::npos) return;
    words_ = split_words(warning.substr(at, warning.find('\n', at) - at));
    CHECK(run_host(words_).status == 0);
  }
  ~ProtectedSlice() {
    if (words_.empty()) return;
    words_.back() = words_.back().substr(0, words_.back().find('=') + 1) + "0";
    run_host(words_);
  }
  ProtectedSlice(const ProtectedSlice&) = delete;
  ProtectedSlice& operator=(const ProtectedSlice&) = delete;

 private:
  std::vector<std::string> words_;
};

// Bytes of page cache that are charged to a container.
uint64_t cached(const Installation& installation, const std::string& name) {
  const std::string text = installation.holm_ok({"metrics", name});
  const size_t at = text.find("\ncontainer_memory_cache{name=\"" + name + "\"} ");
  REQUIRE(at != std::string::npos);
  return parse_unsigned(split_words(text.substr(at, text.find('\n', at + 1) - at)).at(1)).value_or(0);
}

}  // namespace

TEST_CASE("a swap storm next door is not felt") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("a host of the tests' own", is_own_host());
  const Swap swap("/var/tmp/holm-test-swap");
  check_cpu_share(
      1, "a swap storm",
      load({"/load", "touch-memory", "128"}, on_last_cpu()) + "[memory]\nlimit = \"48M\"\nswap = \"160M\"\n");
}

TEST_CASE("memory.guarantee is kept when the host has no memory left, and no one else's is") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("a host of the tests' own", is_own_host());
  constexpr uint64_t kKept = 64 << 20;
  const Installation installation;
  const std::string fill =
      "dd if=/dev/zero of=/var/file bs=1M count=64 2>/dev/null; sync; cat /var/file > /dev/null";
  const Result started = installation.holm(
      {"start", installation.write_config("kept", std::string(kIdle) + "[memory]\nguarantee = \"80M\"\n")});
  REQUIRE(started.status == 0);
  const ProtectedSlice slice(started.errors);
  installation.start("other", kIdle);
  for (const char* name : {"kept", "other"}) answer(installation, name, fill);
  CHECK(cached(installation, "kept") > kKept * 9 / 10);
  CHECK(cached(installation, "other") > kKept * 9 / 10);
  // More than there is without taking page cache away.
  const uint64_t megabytes = (kibibytes_of("/proc/meminfo", "MemAvailable") >> 10) - 64;
  MESSAGE(fmt::format("a neighbour takes {} MiB", megabytes));
  installation.start("hog", load({"/load", "touch-memory", std::to_string(megabytes)}, ""));
  CHECK(eventually([&] { return cached(installation, "other") < kKept / 2; },
                   std::chrono::seconds(30) * patience()));
  MESSAGE(fmt::format("kept {} MiB, others {} MiB of 64", cached(installation, "kept") >> 20,
                      cached(installation, "other") >> 20));
  CHECK(cached(installation, "kept") > kKept * 9 / 10);
}
