#include "quotas/limits.h"

#include <doctest/doctest.h>

#include "tests/unit/quotas/message_of.h"

using namespace holm;
using namespace holm::quotas;
using holm::test::message_of;

TEST_CASE("a list of CPUs is read as cpuset(7) writes it") {
  CHECK(parse_cpu_set("0") == CpuSet{0});
  CHECK(parse_cpu_set("0-2,5") == CpuSet{0, 1, 2, 5});
  CHECK(parse_cpu_set("3,1-2,2") == CpuSet{1, 2, 3});
  CHECK(parse_cpu_set("8191") == CpuSet{8191});
}

TEST_CASE("what is not a list of CPUs gives nothing") {
  for (const char* text :
       {"", ",", "0,", "2-1", "-1", "0-", "a", "0 ,1", "1-2-3", "8192", "0-4294967295", "+1", "0x1"})
    CHECK_MESSAGE(!parse_cpu_set(text), text);
}

TEST_CASE("a set of CPUs is written in its shortest form") {
  CHECK(format_cpu_set({}) == "");
  CHECK(format_cpu_set({0, 1, 2, 5}) == "0-2,5");
  CHECK(format_cpu_set({7}) == "7");
  CHECK(format_cpu_set({0, 2, 3}) == "0,2-3");
}

TEST_CASE("weights keep their ratios on v2 and are held to its range") {
  CHECK(cpu_weight_v2(256) == 100);
  CHECK(cpu_weight_v2(512) == 200);
  CHECK(cpu_weight_v2(1) == 1);
  CHECK(cpu_weight_v2(2) == 1);
  CHECK(cpu_weight_v2(4) == 2);  // 1.56
  CHECK(cpu_weight_v2(25600) == 10000);
  CHECK(cpu_weight_v2(65536) == 10000);
}

TEST_CASE("weights fit the range of v1 exactly") {
  CHECK(cpu_shares_v1(kMinWeight) == 4);
  CHECK(cpu_shares_v1(kDefaultWeight) == 1024);
  CHECK(cpu_shares_v1(kMaxWeight) == 262144);
}

TEST_CASE("without count and pin no CPUs are chosen") { CHECK(choose_cpus({}, {0, 1}, 7).empty()); }

TEST_CASE("pinned CPUs are used as they are") {
  CpuLimits limits;
  limits.pin = {1, 3};
  CHECK(choose_cpus(limits, {0, 1, 2, 3}, 7) == CpuSet{1, 3});
}

TEST_CASE("containers with a count of CPUs are spread by their numbers") {
  CpuLimits limits;
  limits.count = 2;
  CHECK(choose_cpus(limits, {0, 1, 2, 3}, 0) == CpuSet{0, 1});
  CHECK(choose_cpus(limits, {0, 1, 2, 3}, 1) == CpuSet{2, 3});
  CHECK(choose_cpus(limits, {0, 1, 2}, 1) == CpuSet{0, 2});
  limits.pin = {4, 5, 6};
  limits.count = 1;
  CHECK(choose_cpus(limits, {0, 4, 5, 6}, 4294967295) == CpuSet{4});
}

TEST_CASE("a pinned CPU that is not online is named") {
  CpuLimits limits;
  limits.pin = {0, 9};
  CHECK(message_of([&] { choose_cpus(limits, {0, 1}, 0); }) == "set cpu.pin to '0,9': CPU 9 is not online");
}

TEST_CASE("more CPUs than there are, or none, are refused") {
  CpuLimits limits;
  limits.count = 3;
  CHECK(message_of([&] {
          choose_cpus(limits, {0, 1}, 0);
        }) == "set cpu.count to 3: only 2 CPUs to choose from (0-1)");
  limits.pin = {1};
  CHECK(message_of([&] {
          choose_cpus(limits, {0, 1}, 0);
        }) == "set cpu.count to 3: only 1 CPU to choose from (1)");
  limits.count = 0;
  CHECK(message_of([&] {
          choose_cpus(limits, {0, 1}, 0);
        }) == "set cpu.count to 0: a container needs at least one CPU");
}
