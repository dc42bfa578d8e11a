#include "runtime/state.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::runtime;

namespace {

State full_state() {
  State state;
  state.name = "web";
  state.number = 7;
  state.phase = Phase::restarting;
  state.init = {.pid = 4711, .start_time = 123456789012345};
  state.monitor = {.pid = 4710, .start_time = 123456789012344};
  state.boot_id = "0d8f1c5e-0000-4000-8000-000000000001";
  state.started_at = 1795000000;
  state.restarts = 3;
  state.addresses = {"10.0.3.10", "fd00::10"};
  state.warnings = {"memory.guarantee: not on cgroup v1"};
  state.last_exit = ExitRecord{.status = 137,
                               .signal = 9,
                               .out_of_memory = true,
                               .requested = false,
                               .reason = "killed: out of memory at 64 MiB; raise memory.limit",
                               .at = 1795000100};
  state.remove_when_stopped = true;
  return state;
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const size_t at = text.find(what);
  REQUIRE(at != std::string::npos);
  return text.replace(at, what.size(), with);
}

// The error of `body`; a CHECK fails where there is none.
Error error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  CHECK_MESSAGE(false, "no error");
  return Error("");
}

Paths paths_in(const test::TemporaryDirectory& directory) {
  Paths paths;
  paths.run = directory.path();
  return paths;
}

}  // namespace

TEST_CASE("a state survives encoding with every field") {
  const State before = full_state();
  const State after = decode_state(encode_state(before));
  CHECK(after.name == "web");
  CHECK(after.number == 7);
  CHECK(after.phase == Phase::restarting);
  CHECK(after.init == before.init);
  CHECK(after.monitor == before.monitor);
  CHECK(after.boot_id == before.boot_id);
  CHECK(after.started_at == 1795000000);
  CHECK(after.restarts == 3);
  CHECK(after.addresses == before.addresses);
  CHECK(after.warnings == before.warnings);
  CHECK(after.remove_when_stopped);
  REQUIRE(after.last_exit);
  CHECK(after.last_exit->status == 137);
  CHECK(after.last_exit->signal == 9);
  CHECK(after.last_exit->out_of_memory);
  CHECK_FALSE(after.last_exit->requested);
  CHECK(after.last_exit->reason == before.last_exit->reason);
  CHECK(after.last_exit->at == 1795000100);
  CHECK(encode_state(after) == encode_state(before));
}

TEST_CASE("every phase has a name of its own and survives encoding") {
  for (const Phase phase : {Phase::starting, Phase::running, Phase::restarting, Phase::stopped}) {
    State state;
    state.phase = phase;
    CAPTURE(phase_name(phase));
    CHECK(decode_state(encode_state(state)).phase == phase);
  }
  CHECK(std::string(phase_name(Phase::restarting)) == "restarting");
}

TEST_CASE("a container that never ended has no exit record") {
  CHECK_FALSE(decode_state(encode_state(State{})).last_exit);
}

TEST_CASE("bytes that are no UTF-8 do not keep a state from being written") {
  State state;
  state.last_exit = ExitRecord{.reason = "did not start: '\xff\xfe'"};
  CHECK(decode_state(encode_state(state)).last_exit->reason == "did not start: '\xEF\xBF\xBD\xEF\xBF\xBD'");
}

TEST_CASE("a state of a newer version is refused with what to do") {
  const Error error = error_of(
      [] { decode_state(replaced(encode_state(full_state()), "\"version\": 1", "\"version\": 2")); });
  CHECK(error.message() == "written by a newer version of Holm");
  REQUIRE(error.hints().size() == 1);
  CHECK(error.hints()[0] == "use that version, or stop the container with it first");
}

TEST_CASE("a newer version is named before its unknown content is") {
  const Error error = error_of([] { decode_state("{\"version\": 9, \"everything\": \"is different\"}"); });
  CHECK(error.message() == "written by a newer version of Holm");
}

TEST_CASE("a damaged state is an error that says so") {
  const std::string good = encode_state(full_state());
  const std::string cases[] = {"",
                               "{",
                               "null",
                               "[]",
                               "\"text\"",
                               "{}",
                               std::string(4096, '\0'),
                               good.substr(0, good.size() / 2),
                               replaced(good, "\"number\": 7", "\"number\": \"seven\""),
                               replaced(good, "\"pid\": 4711", "\"pid\": null"),
                               replaced(good, "\"boot_id\"", "\"boot\""),
                               replaced(good, "\"addresses\": [", "\"addresses\": [[],")};
  for (const std::string& text : cases) {
    CAPTURE(text);
    const std::string message = error_of([&] { decode_state(text); }).message();
    CHECK_MESSAGE(message.starts_with("not a state file: "), message);
  }
}

TEST_CASE("a phase that nobody knows is an error that names it") {
  const Error error =
      error_of([] { decode_state(replaced(encode_state(full_state()), "\"restarting\"", "\"dancing\"")); });
  CHECK(error.message() == "unknown phase 'dancing'");
}

TEST_CASE("a number that does not fit its field is refused, not cut") {
  const std::string good = encode_state(full_state());
  for (const auto& [what, with] :
       {std::pair("\"number\": 7", "\"number\": 4294967303"), std::pair("\"number\": 7", "\"number\": -7"),
        std::pair("\"pid\": 4711", "\"pid\": 4294972007"),
        std::pair("\"restarts\": 3", "\"restarts\": 3.5")}) {
    CAPTURE(with);
    const std::string message = error_of([&] { decode_state(replaced(good, what, with)); }).message();
    CHECK_MESSAGE(message.starts_with("not a state file: "), message);
  }
}

TEST_CASE("what was written is read, and the file is for its owner only") {
  const test::TemporaryDirectory directory;
  const Paths paths = paths_in(directory);
  CHECK_FALSE(read_state(paths, "web"));
  sys::make_directory(paths.runtime("web"), 0700);
  CHECK_FALSE(read_state(paths, "web"));
  write_state(paths, full_state());
  const auto state = read_state(paths, "web");
  REQUIRE(state);
  CHECK(encode_state(*state) == encode_state(full_state()));
  CHECK((sys::stat_path(paths.runtime("web") + "/state.json")->st_mode & 0777) == 0600);
  CHECK(list_directory(paths.runtime("web")) == std::vector<std::string>{"state.json"});
}

TEST_CASE("the error about a damaged state file names the file") {
  const test::TemporaryDirectory directory;
  const Paths paths = paths_in(directory);
  sys::make_directory(paths.runtime("web"), 0700);
  replace_file(paths.runtime("web") + "/state.json", "garbage");
  const std::string message = error_of([&] { read_state(paths, "web"); }).message();
  CHECK_MESSAGE(message.starts_with("read '" + directory.path() + "/web/state.json': not a state file: "),
                message);
}

TEST_CASE("a process is known by its start time, not by its pid alone") {
  const ProcessId us = identify_process(::getpid());
  CHECK(us.pid == ::getpid());
  CHECK(us.start_time > 0);
  CHECK(open_process(us));
  CHECK_FALSE(open_process({us.pid, us.start_time + 1}));
  CHECK_FALSE(open_process({}));
  CHECK_FALSE(open_process({-1, us.start_time}));
}

TEST_CASE("a process that ended is not taken for a living one, not even while it is a zombie") {
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const ProcessId process = identify_process(child);
  CHECK(open_process(process));
  ::kill(child, SIGKILL);
  siginfo_t info = {};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  CHECK_FALSE(open_process(process));
  ::waitpid(child, nullptr, 0);
  CHECK_FALSE(open_process(process));
  CHECK(error_of([&] { identify_process(child); }).message() ==
        "identify process '" + std::to_string(child) + "': No such process (ESRCH)");
}

TEST_CASE("a process whose name looks like its own stat line is read right") {
  int fds[2];
  REQUIRE(::pipe(fds) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const UniqueFd name(::open("/proc/self/comm", O_WRONLY));
    if (::write(name.get(), ") Z 1 1 (x", 10) < 0) ::_exit(1);
    if (::write(fds[1], "x", 1) < 0) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  char byte = 0;
  CHECK(::read(fds[0], &byte, 1) == 1);
  CHECK(open_process(identify_process(child)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(fds[0]);
  ::close(fds[1]);
}
