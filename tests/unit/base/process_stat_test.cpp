#include "base/process_stat.h"

#include <doctest/doctest.h>
#include <unistd.h>

using namespace holm;

TEST_CASE("a process's name may hold anything") {
  const auto stat = ProcessStat::parse("712 (a) S 1 (b) ) T 7 8 9 34816 712 0");
  REQUIRE(stat);
  CHECK(stat->state() == 'T');
  CHECK(stat->parent() == 7);
  CHECK(stat->field(6) == 9);
  CHECK(stat->field(7) == 34816);
  CHECK(stat->field(10) == 0);
  CHECK(stat->field(52) == 0);
}

TEST_CASE("what is no such file is none") {
  for (const char* text : {"", "712", "712 (a)", "712 (a)\n", "712 (a) S", "712 a S 1 2 3"})
    CHECK_MESSAGE(!ProcessStat::parse(text), text);
}

TEST_CASE("this process's file is read, and nobody's is not") {
  const auto stat = read_process_stat(::getpid());
  REQUIRE(stat);
  CHECK(stat->state() == 'R');
  CHECK(stat->parent() == ::getppid());
  CHECK(stat->field(5) == static_cast<uint64_t>(::getpgrp()));
  CHECK_FALSE(read_process_stat(INT32_MAX));
}
