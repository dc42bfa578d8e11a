#include <doctest/doctest.h>

#include <set>
#include <string>

#include "base/text.h"
#include "isolation/seccomp_policy.h"

using namespace holm;
using namespace holm::isolation;

TEST_CASE("no call stands in two tables, and each group says what it is or why it is refused") {
  std::set<std::string> seen;
  const auto take = [&](std::string_view calls) {
    for (const std::string& name : split_words(calls)) {
      CAPTURE(name);
      CHECK(seen.insert(name).second);
    }
  };
  for (const AllowedCalls& group : allowed_calls()) {
    CHECK_FALSE(group.subject.empty());
    take(group.calls);
  }
  for (const RefusedCalls& group : refused_calls()) {
    CHECK_FALSE(group.why.empty());
    take(group.calls);
  }
  for (const ArgumentRule& rule : argument_rules()) take(rule.call);
  for (const NumberedCall& call : numbered_calls()) take(call.name);
}

TEST_CASE("no table allows a call that SECURITY forbids") {
  std::set<std::string> allowed;
  for (const AllowedCalls& group : allowed_calls())
    for (const std::string& name : split_words(group.calls)) allowed.insert(name);
  for (const NumberedCall& call : numbered_calls()) allowed.insert(std::string(call.name));
  for (const char* name : {"bpf",
                           "kexec_load",
                           "kexec_file_load",
                           "init_module",
                           "finit_module",
                           "delete_module",
                           "keyctl",
                           "add_key",
                           "request_key",
                           "perf_event_open",
                           "clock_settime",
                           "clock_settime64",
                           "settimeofday",
                           "stime",
                           "open_by_handle_at",
                           "userfaultfd",
                           "io_uring_setup",
                           "io_uring_enter",
                           "io_uring_register",
                           "ioctl",
                           "socket",
                           "socketcall",
                           "iopl",
                           "ioperm",
                           "syslog"}) {
    CAPTURE(name);
    CHECK(allowed.count(name) == 0);
  }
}
