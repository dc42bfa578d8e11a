// Saves and restores that somebody interrupts, that CRIU leaves in the lurch,
// that find no room, or that come two at a time.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/kept_container.h"
#include "tests/support/loop_disk.h"
#include "tests/support/pty_program.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

// A program in the place of CRIU.
std::string fake_criu(const Installation& installation, const std::string& script) {
  const std::string path = installation.directory() + "/criu";
  replace_file(path, "#!/bin/sh\n" + script + "\n");
  ::chmod(path.c_str(), 0755);
  return path;
}

bool is_stopped(pid_t pid) {
  return read_file_if_exists(fmt::format("/proc/{}/stat", pid)).value_or("").contains(") T ");
}

// Of the installation's monitors and CRIUs the first of which `holds` is true;
// 0 for none.
pid_t find_process(const std::function<bool(pid_t pid, const std::string& directory)>& holds) {
  for (const std::string& name : list_directory("/proc")) {
    const auto pid = parse_unsigned(name);
    bool is_it = false;
    ignore_errors([&] { is_it = pid && holds(static_cast<pid_t>(*pid), "/proc/" + name); });  // it ended
    if (is_it) return static_cast<pid_t>(*pid);
  }
  return 0;
}

pid_t stopped_monitor_of(const Installation& installation) {
  return find_process([&](pid_t pid, const std::string& directory) {
    return is_stopped(pid) && read_file(directory + "/cmdline").contains("monitor-process") &&
           read_file(directory + "/environ").contains("HOLM_RUN_DIR=" + installation.run_directory());
  });
}

bool has_pending_signal(pid_t pid) {
  return !read_file_if_exists(fmt::format("/proc/{}/status", pid))
              .value_or("")
              .contains("\nShdPnd:\t0000000000000000\n");
}

pid_t criu_below(pid_t command) {
  return find_process([&](pid_t, const std::string& directory) {
    return read_file(directory + "/status").contains(fmt::format("\nPPid:\t{}\n", command)) &&
           sys::read_link(directory + "/fd/1").ends_with("/criu.out");
  });
}

struct Interrupted {
  std::vector<std::string> words;
  std::string step;  // at which the signal comes
  int signal;
};

// `holm WORDS` on a terminal, which stops itself before the step.
class StoppedCommand : public PtyProgram {
 public:
  StoppedCommand(const Installation& installation, const std::vector<std::string>& words,
                 const std::string& step)
      : PtyProgram(with_program(words), with_fault(installation.environment(), step)) {}

 private:
  static std::vector<std::string> with_program(std::vector<std::string> words) {
    words.insert(words.begin(), holm_program());
    return words;
  }
  static std::map<std::string, std::string> with_fault(std::map<std::string, std::string> environment,
                                                       const std::string& step) {
    environment["HOLM_FAULT"] = "stop:" + step;
    return environment;
  }
};

}  // namespace

TEST_CASE(
    "a signal in the middle of a save lets the container run on at once, "
    "and is named") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const KeptContainer scene;
  const std::string file = scene.installation.directory() + "/box.holm";
  const std::vector<Interrupted> cases = {
      {{"save", "--leave-running", "box", file}, "archive the files", SIGINT},
      {{"save", "box", file}, "digest the parts", SIGTERM},
      {{"checkpoint", "box"}, "save the cgroups", SIGHUP},
      {{"checkpoint", "box"}, "silence the links", SIGINT},
      {{"stop", "--checkpoint", "box"}, "note the time", SIGINT},
      {{"stop", "--checkpoint", "box"}, "look at the container", SIGTERM}};
  for (size_t number = 0; number < cases.size(); ++number) {
    if (!is_in_part(number)) continue;
    const auto& [words, step, signal] = cases[number];
    CAPTURE(step);
    StoppedCommand command(scene.installation, words, step);
    CHECK(eventually([&] { return is_stopped(command.pid()); }));
    const int count = scene.count();
    if (signal == SIGINT) {
      command.type("\x03");
    } else {
      ::kill(command.pid(), signal);
    }
    ::kill(command.pid(), SIGCONT);
    CHECK(command.shows(fmt::format("interrupted by SIG{}", ::sigabbrev_np(signal))));
    CHECK(command.wait() == 1);
    // No other command has been said yet.
    CHECK(counts_beyond(scene.installation, "box", count));
    scene.goes_on();
    CHECK_FALSE(sys::exists(file));
    CHECK(list_directory(scene.store()).empty());
    scene.runs_on();
  }
  scene.installation.holm_ok({"stop", "--checkpoint", "box"});
  scene.installation.holm_ok({"start", "box"});
  scene.runs_on();
}

TEST_CASE(
    "a signal in the middle of a restore undoes it, and it can be "
    "restored again") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const KeptContainer scene;
  scene.installation.holm_ok({"stop", "--checkpoint", "box"});
  const std::string digest = scene.digest_of("suspended");
  const int count = scene.count();
  // In the command before the monitor is there, and while the monitor works.
  const std::vector<Interrupted> cases = {{{"start", "box"}, "verify the parts", SIGINT},
                                          {{"start", "box"}, "prepare the images", SIGTERM},
                                          {{"start", "box"}, "record init", SIGINT},
                                          {{"start", "box"}, "limit the container's cgroups", SIGHUP}};
  for (size_t number = 0; number < cases.size(); ++number) {
    if (!is_in_part(number)) continue;
    const auto& [words, step, signal] = cases[number];
    CAPTURE(step);
    StoppedCommand command(scene.installation, words, step);
    pid_t stopped = 0;
    CHECK(eventually([&] {
      stopped = is_stopped(command.pid()) ? command.pid() : stopped_monitor_of(scene.installation);
      return stopped != 0;
    }));
    ::kill(command.pid(), signal);
    // It has heard of it before the monitor goes on, to which it hangs up a moment later.
    if (stopped != command.pid()) CHECK(eventually([&] { return !has_pending_signal(command.pid()); }));
    std::this_thread::sleep_for(50ms * patience());
    if (stopped > 1) ::kill(stopped, SIGCONT);
    CHECK(command.wait(20s) == 1);
    CHECK_MESSAGE(command.screen().contains(fmt::format("interrupted by SIG{}", ::sigabbrev_np(signal))),
                  command.screen());
    CHECK(scene.state() == "suspended");
    CHECK(scene.count() == count);
    CHECK(scene.digest_of("suspended") == digest);
  }
  scene.installation.holm_ok({"start", "box"});
  CHECK(scene.count() >= count);
  scene.runs_on();
}

TEST_CASE(
    "CRIU that cannot be found or run, or ends at once, is told, and the "
    "container runs on") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const KeptContainer scene;
  const Installation& installation = scene.installation;
  const auto says = [&](const std::string& words, const std::map<std::string, std::string>& environment) {
    CAPTURE(words);
    const Result result = installation.holm({"checkpoint", "box"}, environment);
    CHECK(result.status == 1);
    CHECK_MESSAGE(result.errors.contains(words), result.errors);
    scene.runs_on();
    CHECK(list_directory(scene.store()).empty());
  };
  says("scripts/setup", {{"HOLM_CRIU_PREFIX", "/nonexistent"}, {"PATH", "/nonexistent"}});
  says("/nonexistent/criu", {{"HOLM_CRIU", "/nonexistent/criu"}});
  says("CRIU", {{"HOLM_CRIU", fake_criu(installation, "exit 3")}});
  says("CRIU", {{"HOLM_CRIU", fake_criu(installation, "kill -9 $$")}});
  // The kernel refuses to execute it.
  says("CRIU", {{"HOLM_CRIU", installation.host_config()}});
}

TEST_CASE(
    "where CRIU is killed while what it has saved is packed, the "
    "container goes on, connections too") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const KeptContainer scene;
  const std::vector<Interrupted> cases = {{{"checkpoint", "box"}, "save the cgroups", SIGKILL},
                                          {{"checkpoint", "box"}, "archive the files", SIGKILL},
                                          {{"stop", "--checkpoint", "box"}, "save the cgroups", SIGKILL},
                                          {{"stop", "--checkpoint", "box"}, "note the time", SIGKILL}};
  for (size_t number = 0; number < cases.size(); ++number) {
    if (!is_in_part(number)) continue;
    const auto& [words, step, signal] = cases[number];
    CAPTURE(words[0]);
    CAPTURE(step);
    StoppedCommand command(scene.installation, words, step);
    CHECK(eventually([&] { return is_stopped(command.pid()); }));
    const int count = scene.count();
    const pid_t criu = criu_below(command.pid());
    REQUIRE(criu > 1);
    ::kill(criu, signal);
    ::kill(command.pid(), SIGCONT);
    CHECK(command.shows("CRIU"));
    CHECK(command.wait(20s) == 1);
    CHECK(counts_beyond(scene.installation, "box", count));
    scene.goes_on();
    scene.runs_on();
  }
}

TEST_CASE(
    "where CRIU is killed before it has begun, or hangs, the container "
    "goes on, connections too") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const KeptContainer scene;
  const Installation& installation = scene.installation;
  // While it looks at the kernel, with processes of its own.
  const std::vector<std::string> moments = {"0.001", "0.003", "0.005", "0.01", "0.015", "0.02"};
  for (const std::string& moment : part_of(moments)) {
    CAPTURE(moment);
    const std::string killed =
        fake_criu(installation, fmt::format("(sleep {}; kill -KILL $$) < /dev/null > /dev/null 2>&1 3>&- &\n"
                                            "exec {} \"$@\"",
                                            moment, criu_program()));
    const auto begin = Clock::now();
    const Result result = installation.holm({"checkpoint", "box"}, {{"HOLM_CRIU", killed}});
    CHECK(Clock::now() - begin < 5s * patience());
    if (result.status != 0) CHECK_MESSAGE(result.errors.contains("CRIU"), result.errors);
    scene.runs_on();
  }
  // Long enough to come to that step.
  const std::string limit = std::to_string(3 * patience());
  StoppedCommand command(installation, {"checkpoint", "--timeout", limit + "s", "box"}, "save the cgroups");
  REQUIRE_MESSAGE(eventually([&] { return is_stopped(command.pid()); }), command.screen());
  const int count = scene.count();
  const pid_t criu = criu_below(command.pid());
  REQUIRE(criu > 1);
  ::kill(criu, SIGSTOP);
  const auto begin = Clock::now();
  ::kill(command.pid(), SIGCONT);
  CHECK(command.wait(20s) == 1);
  CHECK(Clock::now() - begin < 15s * patience());
  CHECK(command.screen().contains("its processes stood still for " + limit + " s and were not saved"));
  CHECK(counts_beyond(installation, "box", count));
  scene.goes_on();
  scene.runs_on();
}

TEST_CASE("a container whose save is killed goes on by itself, with its connection") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const KeptContainer scene;
  const std::string mark = scene.installation.run_directory() + "/box/dump";
  for (const char* step : {"silence the links", "save the processes", "save the cgroups", "note the time"}) {
    CAPTURE(step);
    scene.fails({"checkpoint", "box"}, std::string("kill:") + step);
    const int count = scene.count();
    // Nobody says a command.
    CHECK(eventually([&] { return !sys::exists(mark); }));
    CHECK(counts_beyond(scene.installation, "box", count));
    scene.goes_on();
  }
  scene.recover();  // takes the drafts away
  scene.runs_on();
}

TEST_CASE(
    "a save that finds the disk full says so, the container runs on, and "
    "nothing of it is left") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const KeptContainer scene;
  const Installation& installation = scene.installation;
  const std::string file = installation.directory() + "/x";
  inside(installation, "box", "head -c 8000000 /dev/urandom > /root/big");
  for (const std::string& size : part_of({"16k", "300k", "4m"})) {  // in images, in the archive's
    CAPTURE(size);
    const HostMount mount({"-t", "tmpfs", "-o", "size=" + size, "tmpfs"}, scene.store());
    for (const auto& words : {std::vector<std::string>{"checkpoint", "box"}, {"save", "box", file}}) {
      CAPTURE(words[0]);
      const Result result = installation.holm(words);
      CHECK(result.status == 1);
      CHECK_MESSAGE(result.errors.contains("No space left on device"), result.errors);
      CHECK(list_directory(scene.store()).empty());
      CHECK_FALSE(sys::exists(file));
      scene.goes_on();
    }
  }
  {
    const HostMount mount({"-t", "tmpfs", "-o", "size=4m", "tmpfs"}, installation.directory() + "/small");
    const Result result = installation.holm({"save", "box", installation.directory() + "/small/x"});
    CHECK(result.status == 1);
    CHECK_MESSAGE(result.errors.contains("No space left on device"), result.errors);
    CHECK(list_directory(installation.directory() + "/small").empty());
    scene.goes_on();
  }
  scene.runs_on();
  installation.holm_ok({"save", "box", file});
  installation.holm_ok({"destroy", "box"});
  installation.holm_ok({"restore", file});
  CHECK(scene.connection->echoes("back\n"));
}

TEST_CASE(
    "a restore that finds the disk full says so, leaves nothing, and "
    "works when there is room") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  const LoopDisk disk(installation.directory() + "/disk.img", installation.state_directory() + "/containers",
                      "48M");
  const std::string containers = installation.state_directory() + "/containers";
  const std::string file = installation.directory() + "/box.holm", fill = containers + "/lost+found/fill";
  installation.start("box", counter());
  inside(installation, "box", "head -c 8000000 /dev/urandom > /root/big");
  CHECK(counts_beyond(installation, "box", 2));
  installation.holm_ok({"checkpoint", "box", "old"});
  installation.holm_ok({"save", "box", file});
  const int count = counted(installation, "box");
  const auto names = list_directory(containers + "/box");
  const auto fails = [&](const std::vector<std::string>& words) {
    const Result result = installation.holm(words);
    CHECK(result.status == 1);
    CHECK_MESSAGE(result.errors.contains("No space left on device"), result.errors);
    CHECK(list_directory(containers + "/box") == names);
    CHECK(list_directory(containers) == std::vector<std::string>{"box", "lost+found"});
    CHECK(installation.column("box", "state") == "stopped");
    CHECK(counted(installation, "box") == count);
  };
  for (const char* left : {"100k", "3m"}) {
    CAPTURE(left);
    run_host({"sh", "-c", "cat /dev/zero > " + fill + " 2> /dev/null; truncate -s -" + left + " " + fill});
    fails({"restore", "box", "old"});
    fails({"restore", file});
    sys::remove_file(fill);
  }
  installation.holm_ok({"restore", "box", "old"});
  CHECK(counts_beyond(installation, "box", 2));
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", file});
  CHECK(counts_beyond(installation, "box", count));
  installation.holm_ok({"destroy", "--force", "box"});
}

TEST_CASE(
    "saves and a suspension of one container at the same time come one "
    "after the other") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const KeptContainer scene;
  const Installation& installation = scene.installation;
  const std::string file = installation.directory() + "/box.holm";
  std::vector<pid_t> saves;
  for (const auto& words : {std::vector<std::string>{"checkpoint", "box", "one"},
                            {"checkpoint", "box", "two"},
                            {"checkpoint", "box", "one"},
                            {"save", "--leave-running", "box", file}})
    saves.push_back(installation.holm_background(words));
  for (const pid_t save : saves) CHECK(wait_status(save) == 0);
  scene.runs_on();
  CHECK(list_directory(scene.store()) == std::vector<std::string>{"one", "two"});
  const pid_t first = installation.holm_background({"stop", "--checkpoint", "box"});
  const pid_t second = installation.holm_background({"stop", "--checkpoint", "box"});
  const pid_t third = installation.holm_background({"checkpoint", "box", "three"});
  const int status = wait_status(first), other = wait_status(second);
  wait_status(third);  // it was first, or the container was stopped by then
  CHECK(((status == 0 && other == 1) || (status == 1 && other == 0)));
  CHECK(scene.state() == "suspended");
  installation.holm_ok({"start", "box"});
  scene.runs_on();
  for (const std::string tag : {"one", "two"}) {
    installation.holm_ok({"stop", "-k", "box"});
    installation.holm_ok({"restore", "box", tag});
    CHECK(counts_beyond(installation, "box", scene.count()));
  }
  installation.holm_ok({"restore", file, "--name", "copy"});
  CHECK(counts_beyond(installation, "copy", counted(installation, "copy")));
}
