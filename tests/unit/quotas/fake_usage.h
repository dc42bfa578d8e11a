// A container whose usage a test makes up: what the kernel would count of it, and the truth to compare with.
#pragma once

#include <string>

#include "quotas/ledger.h"

namespace holm::test {

class FakeContainer {
 public:
  explicit FakeContainer(std::string uuid = "0d5f7c2e-0000-4000-8000-000000000001", std::string name = "web")
      : uuid_(std::move(uuid)), name_(std::move(name)) {}

  // A new life of every counter.
  void start() {
    ++run_;
    begin_ns_ = boottime_ns;
    cpu_ = received_ = 0;
    is_running_ = true;
  }
  void stop() { is_running_ = false; }
  void reboot_host() {
    ++boot_;
    boottime_ns = 5'000'000'000;
    is_running_ = false;
  }
  void use(uint64_t cpu_ns, uint64_t received) {
    cpu_ += cpu_ns;
    received_ += received;
    truth[quotas::Quantity::cpu] += cpu_ns;
    truth[quotas::Quantity::net_received_bytes] += received;
  }
  void pass(int64_t nanoseconds) {
    boottime_ns += nanoseconds;
    walltime_ns += nanoseconds;
    if (is_running_) truth[quotas::Quantity::uptime] += nanoseconds;
  }

  quotas::LedgerSample sample() const {
    const std::string boot = "boot" + std::to_string(boot_), life = boot + "/" + std::to_string(run_);
    quotas::LedgerSample sample;
    sample.uuid = uuid_;
    sample.name = name_;
    sample.boot_id = boot;
    sample.boottime_ns = boottime_ns;
    sample.walltime_ns = walltime_ns;
    sample.run = quotas::RunClock{life, begin_ns_, boottime_ns, !is_running_};
    sample.meters = {{quotas::Quantity::cpu, "cpu", life, cpu_},
                     {quotas::Quantity::net_received_bytes, "link hm7", life, received_}};
    sample.memory_held = memory;
    sample.memory_peak = peak;
    sample.memory_life = life;
    sample.counters_life = life;
    return sample;
  }
  bool is_running() const { return is_running_; }
  const std::string& uuid() const { return uuid_; }

  int64_t boottime_ns = 100'000'000'000;
  int64_t walltime_ns = 1'795'000'000'000'000'000;
  uint64_t memory = 0;
  uint64_t peak = 0;
  quotas::UsageSums truth;

 private:
  std::string uuid_;
  std::string name_;
  int boot_ = 1;
  int run_ = 0;
  int64_t begin_ns_ = 0;
  uint64_t cpu_ = 0;
  uint64_t received_ = 0;
  bool is_running_ = false;
};

// The sums of all rows, whatever their periods are.
inline quotas::UsageSums sum_of(const quotas::Ledger& ledger, const quotas::UsageQuery& query = {}) {
  quotas::UsageSums sums;
  for (const quotas::UsageRow& row : ledger.usage(query)) sums += row.sums;
  return sums;
}

inline void add(quotas::Ledger& ledger, const quotas::LedgerSample& sample) {
  ledger.write([&](quotas::LedgerWriter& writer) { writer.add(sample); });
}

}  // namespace holm::test
