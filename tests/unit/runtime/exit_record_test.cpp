#include "runtime/exit_record.h"

#include <doctest/doctest.h>

#include <csignal>
#include <ctime>

using namespace holm;
using namespace holm::runtime;
using namespace std::chrono_literals;

namespace {

constexpr OomFacts kNoOom{};

InitEnd exited(int code) { return {.code = code, .signal = 0}; }
InitEnd killed(int signal) { return {.code = 0, .signal = signal}; }

}  // namespace

TEST_CASE("the ways to end, in words and as an exit status") {
  struct Case {
    InitEnd end;
    Intent intent;
    int status;
    int signal;
    const char* reason;
  };
  const Case cases[] = {
      {exited(0), Intent::none, 0, 0, "exited with status 0"},
      {exited(3), Intent::none, 3, 0, "exited with status 3"},
      {exited(255), Intent::stop, 255, 0, "exited with status 255"},
      {killed(SIGSEGV), Intent::none, 139, SIGSEGV, "killed by signal 11 (SEGV)"},
      {killed(SIGKILL), Intent::none, 137, SIGKILL, "killed by signal 9 (KILL)"},
      {killed(SIGKILL), Intent::stop, 137, SIGKILL, "stopped: killed by signal 9 (KILL)"},
      {killed(SIGTERM), Intent::stop, 143, SIGTERM, "stopped: killed by signal 15 (TERM)"},
      {killed(SIGRTMIN), Intent::none, 128 + SIGRTMIN, SIGRTMIN, "killed by signal 34 (?)"},
      {killed(SIGHUP), Intent::none, 0, 0, "rebooted"},
      {killed(SIGINT), Intent::none, 0, 0, "powered off"},
      {killed(SIGINT), Intent::stop, 0, 0, "powered off"},
      {{.known = false}, Intent::none, 1, 0, "ended while no monitor watched it; its status is not known"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.reason);
    const ExitRecord record = describe_end(c.end, kNoOom, c.intent);
    CHECK(record.reason == c.reason);
    CHECK(record.status == c.status);
    CHECK(record.signal == c.signal);
    CHECK(record.requested == (c.intent != Intent::none));
    CHECK_FALSE(record.out_of_memory);
    CHECK(std::abs(record.at - std::time(nullptr)) <= 2);
  }
}

TEST_CASE("an init that the kernel killed for memory is told with the limit and the cure") {
  const ExitRecord record =
      describe_end(killed(SIGKILL), {.kills = 1, .limit = Bytes{64 << 20}}, Intent::none);
  CHECK(record.reason == "killed: out of memory at 64 MiB; raise memory.limit");
  CHECK(record.out_of_memory);
  CHECK(record.status == 137);
}

TEST_CASE("an init that failed because the kernel killed a process of it is told, too") {
  const ExitRecord record = describe_end(exited(1), {.kills = 2, .limit = Bytes{64 << 20}}, Intent::none);
  CHECK(
      record.reason ==
      "exited with status 1; the kernel killed a process of it: out of memory at 64 MiB; raise memory.limit");
  CHECK(record.out_of_memory);
}

TEST_CASE("memory that ran out without a limit was the host's") {
  CHECK(describe_end(killed(SIGKILL), {.kills = 1, .limit = {}}, Intent::none).reason ==
        "killed: out of memory: the host itself had none left");
}

TEST_CASE("an earlier kill for memory is no reason where the container ended well or was asked to") {
  const OomFacts oom{.kills = 1, .limit = Bytes{64 << 20}};
  CHECK(describe_end(exited(0), oom, Intent::none).reason == "exited with status 0");
  CHECK(describe_end(killed(SIGKILL), oom, Intent::stop).reason == "stopped: killed by signal 9 (KILL)");
  CHECK_FALSE(describe_end(killed(SIGKILL), oom, Intent::stop).out_of_memory);
}

TEST_CASE("what follows from an end") {
  constexpr auto kCrashRestart = OnCrash::restart;
  constexpr auto kCrashStop = OnCrash::stop;
  constexpr auto kCrashDestroy = OnCrash::destroy;
  constexpr auto kRebootRestart = OnReboot::restart;
  constexpr auto kRebootStop = OnReboot::stop;
  constexpr auto kRebootDestroy = OnReboot::destroy;
  struct Case {
    InitEnd end;
    Intent intent;
    OnCrash on_crash;
    OnReboot on_reboot;
    Next next;
  };
  const Case cases[] = {
      // An end without failure is final, whatever on_crash says.
      {exited(0), Intent::none, kCrashRestart, kRebootRestart, Next::stop},
      {exited(0), Intent::none, kCrashDestroy, kRebootRestart, Next::stop},
      {killed(SIGINT), Intent::none, kCrashRestart, kRebootRestart, Next::stop},
      // Failures.
      {exited(1), Intent::none, kCrashRestart, kRebootRestart, Next::start_after_pause},
      {exited(1), Intent::none, kCrashStop, kRebootRestart, Next::stop},
      {exited(1), Intent::none, kCrashDestroy, kRebootRestart, Next::destroy},
      {killed(SIGKILL), Intent::none, kCrashRestart, kRebootStop, Next::start_after_pause},
      {killed(SIGKILL), Intent::none, kCrashDestroy, kRebootStop, Next::destroy},
      {killed(SIGKILL), Intent::none, kCrashStop, kRebootStop, Next::stop},
      {{.known = false}, Intent::none, kCrashRestart, kRebootStop, Next::start_after_pause},
      {{.known = false}, Intent::none, kCrashStop, kRebootStop, Next::stop},
      // A reboot from inside is no crash.
      {killed(SIGHUP), Intent::none, kCrashDestroy, kRebootRestart, Next::start_again},
      {killed(SIGHUP), Intent::none, kCrashRestart, kRebootStop, Next::stop},
      {killed(SIGHUP), Intent::none, kCrashRestart, kRebootDestroy, Next::destroy},
      // What a person asked for comes before either.
      {exited(1), Intent::stop, kCrashRestart, kRebootRestart, Next::stop},
      {killed(SIGHUP), Intent::stop, kCrashRestart, kRebootRestart, Next::stop},
      {exited(1), Intent::stop, kCrashDestroy, kRebootDestroy, Next::stop},
      {exited(0), Intent::reboot, kCrashStop, kRebootStop, Next::start_again},
      {killed(SIGKILL), Intent::reboot, kCrashDestroy, kRebootDestroy, Next::start_again},
  };
  for (size_t i = 0; i < std::size(cases); ++i) {
    CAPTURE(i);
    ContainerSpec spec;
    spec.on_crash = cases[i].on_crash;
    spec.on_reboot = cases[i].on_reboot;
    CHECK(decide_next(spec, cases[i].end, cases[i].intent) == cases[i].next);
  }
}

TEST_CASE("the pause before a restart doubles from half a second up to a minute") {
  const std::chrono::milliseconds expected[] = {500ms, 1s, 2s, 4s, 8s, 16s, 32s, 60s, 60s, 60s};
  for (unsigned i = 0; i < std::size(expected); ++i) CHECK(restart_pause(i + 1) == expected[i]);
  CHECK(restart_pause(1000000) == 60s);
  CHECK(restart_pause(~0U) == 60s);
  CHECK(restart_pause(0) == 500ms);
}
