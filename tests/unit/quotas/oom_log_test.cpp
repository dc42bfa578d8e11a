// The kernel's log of out-of-memory kills.
#include "quotas/oom_log.h"

#include <doctest/doctest.h>

using namespace holm::quotas;

namespace {

std::string record(const std::string& where, const std::string& task) {
  return "6,812,99117321,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=7,mems_allowed=0," +
         where + ",task=" + task + ",pid=4711,uid=100000\n SUBSYSTEM=none\n";
}

}  // namespace

TEST_CASE("a kill within the group is found, with name and pid") {
  const auto kill = parse_oom_record(record("oom_memcg=/holm/7,task_memcg=/holm/7", "tail"), "/holm/7");
  REQUIRE(kill);
  CHECK(kill->process == "tail");
  CHECK(kill->pid == 4711);
  CHECK(kill->by_limit);
  const std::string nested = record("oom_memcg=/holm/7/a,b/c,task_memcg=/holm/7/a/b", "php-fpm: pool");
  REQUIRE(parse_oom_record(nested, "/holm/7"));
  CHECK(parse_oom_record(nested, "/holm/7")->process == "php-fpm: pool");
}

TEST_CASE("a kill because the host had no memory left is told apart") {
  const auto kill = parse_oom_record(record("global_oom,task_memcg=/holm/7", "tail"), "/holm/7");
  REQUIRE(kill);
  CHECK_FALSE(kill->by_limit);
}

TEST_CASE("kills elsewhere and other records are not taken") {
  CHECK_FALSE(parse_oom_record(record("oom_memcg=/holm/71,task_memcg=/holm/71", "tail"), "/holm/7"));
  CHECK_FALSE(parse_oom_record(record("oom_memcg=/x/holm/7,task_memcg=/x/holm/7", "tail"), "/holm/7"));
  CHECK_FALSE(
      parse_oom_record(record("oom_memcg=/,task_memcg=/user.slice", "task_memcg=/holm/7"), "/holm/7"));
  CHECK_FALSE(parse_oom_record("6,1,2,-;eth0: link up\n", "/holm/7"));
  CHECK_FALSE(parse_oom_record("", "/holm/7"));
  CHECK_FALSE(parse_oom_record("6,1,2,-;oom-kill:", "/holm/7"));
  CHECK_FALSE(parse_oom_record("6,1,2,-;oom-kill:,task_memcg=/holm/7", "/holm/7"));
  CHECK_FALSE(parse_oom_record("6,1,2,-;oom-kill:,task_memcg=/holm/7,task=,pid=,uid=", "/holm/7"));
}

TEST_CASE("what a program wrote into the kernel's log is not believed, and cannot harm") {
  std::string forged = record("oom_memcg=/holm/7,task_memcg=/holm/7", "tail");
  REQUIRE(parse_oom_record(forged, "/holm/7"));
  forged.replace(0, forged.find(','), "14");  // as a write to /dev/kmsg has it: level 6 of user
  CHECK_FALSE(parse_oom_record(forged, "/holm/7"));
  CHECK_FALSE(parse_oom_record("6,1,2,-;oom-kill:,task_memcg=/holm/7,task=tail", "/holm/7"));
}

TEST_CASE("a process cannot name itself into another's place") {
  const auto kill =
      parse_oom_record(record("oom_memcg=/holm/7,task_memcg=/holm/7", "a,pid=1,uid=0"), "/holm/7");
  REQUIRE(kill);
  CHECK(kill->process == "a,pid=1,uid=0");
  CHECK(kill->pid == 4711);
  CHECK_FALSE(
      parse_oom_record(record("oom_memcg=/holm/7,task_memcg=/holm/7", "a,task_memcg=/holm/8"), "/holm/8"));
}
