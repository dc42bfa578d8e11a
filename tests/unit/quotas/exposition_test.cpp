// The text of metrics in both formats.
#include <doctest/doctest.h>

#include "quotas/exposition.h"

using namespace holm::quotas;

TEST_CASE("the family of a counter is named without its end in OpenMetrics alone") {
  const std::vector<MetricFamily> families = {
      {"cpu_seconds_total", MetricType::counter, "CPU time.", {{{{"name", "web"}}, "1.5"}}},
      {"memory_bytes", MetricType::gauge, "Memory.", {{{}, "7"}}},
      {"memory_failcnt", MetricType::unknown, "Refusals.", {{{{"a", "1"}, {"b", "2"}}, "+Inf"}}},
      {"nothing", MetricType::gauge, "Not there.", {}}};
  CHECK(
      format_metrics(families, Exposition::openmetrics) ==
      "# HELP cpu_seconds CPU time.\n# TYPE cpu_seconds counter\ncpu_seconds_total{name=\"web\"} 1.5\n"
      "# HELP memory_bytes Memory.\n# TYPE memory_bytes gauge\nmemory_bytes 7\n"
      "# HELP memory_failcnt Refusals.\n# TYPE memory_failcnt unknown\nmemory_failcnt{a=\"1\",b=\"2\"} +Inf\n"
      "# EOF\n");
  CHECK(format_metrics(families, Exposition::prometheus) ==
        "# HELP cpu_seconds_total CPU time.\n# TYPE cpu_seconds_total counter\n"
        "cpu_seconds_total{name=\"web\"} 1.5\n"
        "# HELP memory_bytes Memory.\n# TYPE memory_bytes gauge\nmemory_bytes 7\n"
        "# HELP memory_failcnt Refusals.\n# TYPE memory_failcnt untyped\n"
        "memory_failcnt{a=\"1\",b=\"2\"} +Inf\n");
}

TEST_CASE("labels cannot end their line or their value") {
  const std::vector<MetricFamily> families = {
      {"a", MetricType::gauge, "A.", {{{{"name", "x\"} 1\nb\\"}}, "1"}}}};
  CHECK(format_metrics(families, Exposition::openmetrics).find("a{name=\"x\\\"} 1\\nb\\\\\"} 1\n") !=
        std::string::npos);
}

TEST_CASE("seconds are not rounded") {
  CHECK(format_seconds(0) == "0");
  CHECK(format_seconds(1) == "0.000000001");
  CHECK(format_seconds(1'500'000'000) == "1.5");
  CHECK(format_seconds(20'000'000'000) == "20");
  CHECK(format_seconds(UINT64_MAX) == "18446744073.709551615");
}
