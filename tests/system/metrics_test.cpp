// Metrics against the counters that they are made of, and against the program that Prometheus has for that.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "tests/support/inside.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;

namespace {

constexpr const char* kIdle = "command = [\"/bin/sleep\", \"1000\"]\n";

std::string promtool() {
  for (const char* path : {"/opt/holm/bin/promtool", "/usr/bin/promtool"})
    if (sys::exists(path)) return path;
  return "";
}

// By what stands before the value: "container_memory_usage_bytes{name=\"web\"}".
using Values = std::map<std::string, std::string>;

// Reads OpenMetrics as its specification has it: families apart, TYPE and HELP before their samples, each
// series once, and an end.
Values read_openmetrics(const std::string& text) {
  Values values;
  std::set<std::string> families;
  std::string family, type;
  const auto lines = split(text, '\n');
  REQUIRE(text.ends_with("# EOF\n"));
  for (const std::string& line : lines) {
    CAPTURE(line);
    const auto words = split_words(line);
    if (line.empty() || line == "# EOF") continue;
    if (line.starts_with("# HELP ")) {
      family = words.at(2);
      CHECK(families.insert(family).second);
      CHECK(words.size() > 4);
    } else if (line.starts_with("# TYPE ")) {
      CHECK(words.at(2) == family);
      type = words.at(3);
    } else {
      const size_t blank = line.rfind(' ');
      const std::string series = line.substr(0, blank);
      CHECK(series.substr(0, series.find('{')) == family + (type == "counter" ? "_total" : ""));
      CHECK(values.emplace(series, line.substr(blank + 1)).second);
    }
  }
  return values;
}

Values metrics(const Installation& installation, std::vector<std::string> words = {}) {
  words.insert(words.begin(), "metrics");
  return read_openmetrics(installation.holm_ok(words));
}

double number(const Values& values, const std::string& series) {
  CAPTURE(series);
  REQUIRE(values.count(series) == 1);
  return std::stod(values.at(series));
}

// A sample without a time is one of now; promtool's reader of whole histories wants one in each line.
std::string with_times(const std::string& openmetrics) {
  std::string out;
  for (const std::string& line : split(openmetrics, '\n'))
    if (!line.empty()) out += line + (line[0] == '#' ? "\n" : " 1795000000\n");
  return out;
}

}  // namespace

TEST_CASE("metrics have cAdvisor's names and the counters' values") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("bridge, veth and nftables", have_nat());
  Installation installation;
  installation.start("box",
                     std::string(kIdle) +
                         "[cpu]\nweight = 512\ncap = 50\n[memory]\nlimit = \"64M\"\n[pids]\nlimit = 77\n"
                         "[[network]]\nmode = \"nat\"\n");
  installation.start("free", kIdle);
  installation.holm_ok({"create", installation.write_config("off", kIdle)});
  answer(installation, "box", "head -c 20000000 /dev/zero > /dev/shm/big; ping -c 2 127.0.0.1");
  const Values now = metrics(installation);
  CHECK(number(now, "container_memory_usage_bytes{name=\"box\"}") > 20e6);
  CHECK(number(now, "container_memory_usage_bytes{name=\"box\"}") < 64e6);
  CHECK(number(now, "container_memory_max_usage_bytes{name=\"box\"}") >=
        number(now, "container_memory_usage_bytes{name=\"box\"}"));
  CHECK(number(now, "container_memory_cache{name=\"box\"}") >= 20e6);
  CHECK(number(now, "container_memory_rss{name=\"box\"}") > 0);
  CHECK(number(now, "container_memory_working_set_bytes{name=\"box\"}") <=
        number(now, "container_memory_usage_bytes{name=\"box\"}"));
  CHECK(number(now, "container_memory_failcnt{name=\"box\"}") == 0);
  CHECK(number(now, "container_spec_memory_limit_bytes{name=\"box\"}") == 64 << 20);
  CHECK(number(now, "container_spec_memory_limit_bytes{name=\"free\"}") == 0);
  CHECK(number(now, "container_spec_cpu_shares{name=\"box\"}") == 2048);
  CHECK(number(now, "container_spec_cpu_shares{name=\"free\"}") == 1024);
  CHECK(number(now, "container_spec_cpu_quota{name=\"box\"}") /
            number(now, "container_spec_cpu_period{name=\"box\"}") ==
        0.5);
  CHECK(now.count("container_spec_cpu_quota{name=\"free\"}") == 0);
  CHECK(number(now, "container_threads{name=\"box\"}") == 1);
  CHECK(number(now, "container_threads_max{name=\"box\"}") == 77);
  CHECK(number(now, "container_network_receive_bytes_total{interface=\"eth0\",name=\"box\"}") >= 0);
  CHECK(number(now, "container_start_time_seconds{name=\"box\"}") > 1.7e9);
  CHECK(number(now, "holm_container_state{name=\"box\",state=\"running\"}") == 1);
  CHECK(number(now, "holm_container_state{name=\"off\",state=\"stopped\"}") == 1);
  CHECK(now.count("container_memory_usage_bytes{name=\"off\"}") == 0);
  CHECK(number(now, "holm_beancounter_limit{name=\"box\",resource=\"numproc\"}") == 77);
  CHECK(now.at("holm_beancounter_limit{name=\"free\",resource=\"physpages\"}") == "+Inf");
  CHECK(metrics(installation, {"box", "box"}).count("container_memory_rss{name=\"box\"}") == 1);
  // What would need a look at each process is not there rather than 0.
  CHECK(now.count("holm_beancounter_held{name=\"box\",resource=\"numfile\"}") == 0);
  CHECK(metrics(installation, {"--all"}).count("holm_beancounter_held{name=\"box\",resource=\"numfile\"}") ==
        1);
  CHECK(now.count("container_fs_usage_bytes{name=\"box\"}") == 0);
  CHECK(metrics(installation, {"--disk", "10s", "box"}).count("container_fs_usage_bytes{name=\"box\"}") == 1);
}

TEST_CASE("metrics' totals go on over a restart") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", std::string(kIdle) + "[cpu]\ncap = 50\n");
  answer(installation, "box", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
  const Values before = metrics(installation, {"box"});
  installation.holm_ok({"reboot", "box"});
  const Values after = metrics(installation, {"box"});
  for (const auto& [series, value] : before) {
    CAPTURE(series);
    const bool is_of_run = series.find("periods_total") != std::string::npos;
    if (series.find("_total{") != std::string::npos && !is_of_run)
      CHECK(number(after, series) >= std::stod(value));
  }
  // To the nanosecond the same number as the counters'.
  const json counted = json::parse(installation.holm_ok({"--json", "counters", "box"}));
  for (const json& counter : counted[0]["counters"]) {
    if (counter["resource"] != "cputime") continue;
    const double later = number(metrics(installation), "container_cpu_usage_seconds_total{name=\"box\"}");
    CHECK(later >= counter["held"].get<double>() / 1e9 - 1e-9);
    CHECK(number(after, "container_cpu_usage_seconds_total{name=\"box\"}") <=
          counter["held"].get<double>() / 1e9 + 1e-9);
  }
}

TEST_CASE("a textfile is whole at any time, and only one that node_exporter would read is written") {
  HOLM_REQUIRES("root", have_root());
  const TemporaryDirectory directory;
  Installation installation;
  installation.start("box", kIdle);
  const std::string file = directory.path() + "/holm.prom";
  CHECK(installation.holm_ok({"metrics", "--textfile", file}).empty());
  const std::string text = read_file(file);
  CHECK(text.find("# TYPE container_cpu_usage_seconds_total counter\n") != std::string::npos);
  CHECK(text.find("# EOF") == std::string::npos);
  CHECK((sys::stat_path(file)->st_mode & 0777) == 0644);
  CHECK(list_directory(directory.path()).size() == 1);

  const Result other = installation.holm({"metrics", "--textfile", directory.path() + "/holm.txt"});
  CHECK(other.status == 2);
  CHECK(other.errors.find("does not end in '.prom'") != std::string::npos);
  const Result nowhere = installation.holm({"metrics", "--textfile", "/nowhere/holm.prom"});
  CHECK(nowhere.status == 1);
  CHECK(nowhere.errors.find("/nowhere/holm.prom") != std::string::npos);
  CHECK(installation.holm({"metrics", "--disk", "much"}).status == 2);
  CHECK(installation.holm({"--json", "metrics"}).status == 2);
  CHECK(installation.holm({"metrics", "nobody"}).errors.starts_with("holm: there is no container 'nobody'"));
  CHECK(list_directory(directory.path()).size() == 1);
}

TEST_CASE("promtool has nothing to object to") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("promtool", !promtool().empty());
  const TemporaryDirectory directory;
  Installation installation;
  CHECK(installation.holm_ok({"metrics"}) == "# EOF\n");
  installation.start("box", std::string(kIdle) + "[cpu]\ncap = 50\n[memory]\nlimit = \"64M\"\n");
  installation.holm_ok({"create", installation.write_config("off", kIdle)});
  const std::string file = directory.path() + "/holm.prom";
  installation.holm_ok({"metrics", "--all", "--disk", "10s", "--textfile", file});
  const Result check = run_host({"/bin/sh", "-c", promtool() + " check metrics < " + file});
  CHECK(check.status == 0);
  CHECK(check.out.empty());
  CHECK(check.errors.empty());

  // Its strictest reader of OpenMetrics, which also looks into what is said twice.
  const std::string history = directory.path() + "/history";
  replace_file(history, with_times(installation.holm_ok({"metrics", "--all"})));
  const Result read = run_host(
      {promtool(), "tsdb", "create-blocks-from", "openmetrics", history, directory.path() + "/blocks"});
  CAPTURE(read.errors);
  CHECK(read.status == 0);
  CHECK(list_directory(directory.path() + "/blocks").size() >= 1);
}
