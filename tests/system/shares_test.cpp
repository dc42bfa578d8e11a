// CPU time as containers get it under contention: shares by weight, caps, bursts.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <unistd.h>
#include <algorithm>

#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

#include "base/file.h"
#include "tests/support/inside.h"
#include "tests/support/median.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

namespace {

unsigned cpu_count() { return static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_ONLN)); }

// A busy loop for each CPU.
std::string busy(unsigned loops) {
  return fmt::format(
      "command = [\"/bin/sh\", \"-c\", \"for i in $(seq {}); do while :; do :; done & done; wait\"]\n",
      loops);
}

std::string on_last_cpu() { return fmt::format("pin = \"{}\"\n", cpu_count() - 1); }

// What all CPUs, or one ("cpu1"), were idle since the host's start, in seconds: proc_stat(5).
double idle_seconds(const std::string& cpu) {
  for (const std::string& line : split(read_file("/proc/stat"), '\n'))
    if (const auto words = split_words(line); words.size() > 5 && words[0] == cpu)
      return static_cast<double>(parse_unsigned(words[4]).value_or(0) +
                                 parse_unsigned(words[5]).value_or(0)) /
             static_cast<double>(::sysconf(_SC_CLK_TCK));
  return 0;
}

// CPU seconds that each container uses within `window`, how long that was at least and at most, as a look
// takes a while itself, and what the CPUs were idle.
struct Measured {
  std::vector<double> used;
  double shortest = 0;
  double longest = 0;
  double idle = 0;  // within the shortest
};

Measured measure(const Installation& installation, const std::vector<std::string>& names,
                 std::chrono::milliseconds window, const std::string& cpu = "cpu") {
  const auto sample = [&] {
    std::vector<double> used;
    std::vector<std::string> words = {"--json", "list"};
    words.insert(words.end(), names.begin(), names.end());
    for (const json& row : json::parse(installation.holm_ok(words)))
      used.push_back(row["cpu_time_ns"].get<double>() / 1e9);
    return used;
  };
  const auto seconds = [](Clock::duration time) { return std::chrono::duration<double>(time).count(); };
  std::this_thread::sleep_for(500ms);  // until all loops run
  Measured measured;
  const auto before_first = Clock::now();
  measured.used = sample();
  const auto after_first = Clock::now();
  measured.idle = -idle_seconds(cpu);
  std::this_thread::sleep_for(window);
  measured.idle += idle_seconds(cpu);
  measured.shortest = seconds(Clock::now() - after_first);
  const std::vector<double> after = sample();
  measured.longest = seconds(Clock::now() - before_first);
  for (size_t i = 0; i < names.size(); ++i) measured.used[i] = after[i] - measured.used[i];
  return measured;
}

// In how many periods the cap has stopped the container, of those in which it ran, since its start.
struct Periods {
  double all = 0;
  double stopped = 0;
};

Periods cap_periods(const Installation& installation, const std::string& name) {
  const std::vector<std::string> lines = split(installation.holm_ok({"metrics", name}), '\n');
  const auto value = [&](const char* metric) {
    const std::string series = fmt::format("container_cpu_cfs_{}_total{{name=\"{}\"}} ", metric, name);
    for (const std::string& line : lines)
      if (line.starts_with(series))
        return static_cast<double>(parse_unsigned(line.substr(series.size())).value_or(0));
    FAIL("no ", series);
    return 0.0;
  };
  return {value("periods"), value("throttled_periods")};
}

// An emulated CPU stands still whenever its host has no time for it, tens of milliseconds each, and what ran
// then is charged with them.
double tolerance() { return patience() > 1 ? 0.15 : 0.03; }

// Starts a container for each weight, and compares what each gets with its share of what all get. What else
// the machine does may spoil one look: where it is off, the median of three counts.
void check_shares(const std::vector<unsigned>& weights, unsigned loops, const std::string& cpu_lines) {
  const Installation installation;
  std::vector<std::string> names;
  for (size_t i = 0; i < weights.size(); ++i) {
    names.push_back(fmt::format("box{}", i));
    installation.start(names.back(),
                       busy(loops) + fmt::format("[cpu]\nweight = {}\n", weights[i]) + cpu_lines);
  }
  const double weight_sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<std::vector<double>> ratios(weights.size());  // to the ideal, of each look
  const auto look = [&] {
    const std::vector<double> used = measure(installation, names, 6s).used;
    const double all = std::accumulate(used.begin(), used.end(), 0.0);
    double worst = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      ratios[i].push_back(used[i] / (all * weights[i] / weight_sum));
      worst = std::max(worst, std::abs(ratios[i].back() - 1));
    }
    MESSAGE(weights.size(), " containers: ", worst * 100, " % from the ideal");
    return worst;
  };
  if (look() > tolerance())
    for (int more = 0; more < 2; ++more) look();
  for (size_t i = 0; i < weights.size(); ++i)
    CHECK_MESSAGE(std::abs(median(ratios[i]) - 1) <= tolerance(), "weight ", weights[i], " got ",
                  median(ratios[i]), " of its share");
}

}  // namespace

TEST_CASE("two, four and eight containers share CPUs by weight within 3 % of the ideal") {
  HOLM_REQUIRES("root", have_root());
  struct Case {
    std::vector<unsigned> weights;
    unsigned loops;
    std::string cpu_lines;
  };
  const std::vector<Case> cases = {
      {{256, 256, 512, 512, 768, 768, 1024, 1024}, 1, on_last_cpu()},
      {{256, 256, 512, 1024}, 1, on_last_cpu()},
      {{256, 512, 768, 1024}, cpu_count(), ""},
      {{256, 512}, 1, on_last_cpu()},
  };
  for (size_t number = 0; number < cases.size(); ++number)
    if (is_in_part(number)) check_shares(cases[number].weights, cases[number].loops, cases[number].cpu_lines);
}

TEST_CASE("a weight that changes while it runs counts at once") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  for (const char* name : {"box0", "box1"}) installation.start(name, busy(1) + "[cpu]\n" + on_last_cpu());
  installation.holm_ok({"set", "box1", "cpu.weight=1024"});
  const auto wanted = doctest::Approx(4).epsilon(tolerance());
  std::vector<double> ratios;
  const auto look = [&] {
    const std::vector<double> used = measure(installation, {"box0", "box1"}, 5s).used;
    ratios.push_back(used[1] / used[0]);
    MESSAGE("ratio ", ratios.back());
    return ratios.back() == wanted;
  };
  if (!look())
    for (int more = 0; more < 2; ++more) look();
  CHECK(median(ratios) == wanted);
}

TEST_CASE("time that others leave goes to whoever wants it") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("light", busy(1) + "[cpu]\nweight = 1\n" + on_last_cpu());
  installation.start("heavy",
                     "command = [\"/bin/sleep\", \"1000\"]\n[cpu]\nweight = 65536\n" + on_last_cpu());
  const Measured measured = measure(installation, {"light"}, 3s, fmt::format("cpu{}", cpu_count() - 1));
  CHECK(measured.idle / measured.shortest < 0.03);
  CHECK(measured.used[0] / measured.shortest > 0.1);  // other programs of the host weigh more
}

TEST_CASE("a cap holds within 1 % of a CPU over 5 s, from 1 % to all CPUs") {
  HOLM_REQUIRES("root", have_root());
  std::vector<unsigned> caps = {1, 50, 100 * cpu_count(), 10, 25};
  if (cpu_count() > 1) caps.insert(caps.end(), {100, 150});
  for (size_t number = 0; number < caps.size(); ++number) {
    if (!is_in_part(number)) continue;
    const unsigned cap = caps[number];
    CAPTURE(cap);
    const Installation installation;
    installation.start("box", busy(cpu_count()) + fmt::format("[cpu]\ncap = {}\n", cap));
    const Periods before = cap_periods(installation, "box");
    const Measured measured = measure(installation, {"box"}, 5s);
    const Periods after = cap_periods(installation, "box");
    const double least = measured.used[0] / measured.longest * 100;
    const double most = measured.used[0] / measured.shortest * 100;
    const double stopped = (after.stopped - before.stopped) / (after.all - before.all);
    MESSAGE("cap ", cap, ": ", least, " to ", most, " %, reached in ", stopped * 100, " % of the periods");
    const double off = patience();  // as with shares
    CHECK(least <= cap + off);
    // Less only where the rest of the host leaves no more: on the whole, or in single periods, in which the
    // cap was not reached then.
    CHECK((most >= cap - off || measured.idle / measured.shortest < 0.05 ||
           (stopped > 0.5 && most >= cap * stopped - off)));
  }
}

TEST_CASE("a burst lets a container use what its cap left, and no more than that") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", "command = [\"/bin/sleep\", \"1000\"]\n[cpu]\ncap = 20\nburst = 20\n");
  const json held =
      json::parse(installation.holm_ok({"--json", "inspect", "box"}))["limits_in_kernel"]["cpu"];
  HOLM_REQUIRES("a kernel that can save up CPU time", held["burst_percent"] == 20);
  installation.holm_ok({"set", "box", "cpu.cap=10", "cpu.burst=10"});  // never above the cap on the way
  installation.holm_ok({"set", "box", "cpu.cap=50", "cpu.burst=40"});
  installation.holm_ok({"set", "box", "cpu.burst=0"});
  CHECK(json::parse(installation.holm_ok(
            {"--json", "inspect", "box"}))["limits_in_kernel"]["cpu"]["burst_percent"] == 0);
}
