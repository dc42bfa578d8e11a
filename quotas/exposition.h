// Metrics as text for Prometheus and whoever reads what it reads.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace holm::quotas {

enum class MetricType {
  gauge,
  counter,  // its name ends in "_total"
  unknown,  // counts, but has a name that others gave it, without "_total"
};

struct MetricSample {
  std::vector<std::pair<std::string, std::string>> labels;
  std::string value;  // a number, or "+Inf"
};

struct MetricFamily {
  std::string name;  // of its samples: "container_cpu_usage_seconds_total"
  MetricType type = MetricType::gauge;
  std::string help;  // a sentence
  std::vector<MetricSample> samples;
};

enum class Exposition {
  openmetrics,  // OpenMetrics 1.0
  prometheus,   // Prometheus' text format 0.0.4, as node_exporter reads files
};

// Families without samples are left out.
std::string format_metrics(const std::vector<MetricFamily>& families, Exposition exposition);

// Nanoseconds as seconds, without rounding: "1.5".
std::string format_seconds(uint64_t nanoseconds);

}  // namespace holm::quotas
