#include <doctest/doctest.h>

#include "runtime/monitor.h"

using namespace holm::runtime;

namespace {

void check_round_trip(const MonitorOptions& before) {
  const MonitorOptions after = parse_monitor_arguments(monitor_arguments(before));
  CHECK(after.name == before.name);
  CHECK(after.stdio == before.stdio);
  CHECK(after.foreground == before.foreground);
  CHECK(after.adopt == before.adopt);
  CHECK(after.remove_when_stopped == before.remove_when_stopped);
  CHECK(after.command == before.command);
}

}  // namespace

TEST_CASE("a monitor's arguments carry every combination of its options") {
  for (int bits = 0; bits < 32; ++bits) {
    CAPTURE(bits);
    MonitorOptions options;
    options.name = "web";
    if (bits & 1) options.stdio = StdioMode::pipes;
    options.foreground = (bits & 2) != 0;
    options.adopt = (bits & 4) != 0;
    options.remove_when_stopped = (bits & 8) != 0;
    if (bits & 16) options.command = {"/bin/echo", "hello", ""};
    check_round_trip(options);
  }
}

TEST_CASE("the payload's own words are never taken for a monitor's options") {
  MonitorOptions options;
  options.name = "web";
  options.command = {"--adopt", "--", "--remove", "--pipes", "-x", "a b\n"};
  check_round_trip(options);
}

TEST_CASE("a monitor is named by its verb and its container") {
  const auto arguments = monitor_arguments({.name = "web", .command = {}});
  CHECK(arguments == std::vector<std::string>{"holm", "monitor-process", "web"});
}
