// What is left when Holm is killed, or fails, at any step of any verb: nothing that the next command does not
// put right.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/holm_runner.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kNat = "command = [\"/bin/sleep\", \"1000\"]\n[[network]]\nmode = \"nat\"\n";
constexpr const char* kSleeper = "command = [\"/bin/sleep\", \"1000\"]\n";

// Steps of the container half after it left the host's files, where it cannot write a trace.
const std::vector<std::string> kStepsInside = {
    "await the host",  "configure network",      "find user", "open standard streams",
    "drop privileges", "say that init executes", "execute"};

// Steps that only the first nat container of an installation passes.
const std::vector<std::string> kNetworkSteps = {"choose the network's subnets", "make the bridge",
                                                "configure the bridge", "install the firewall",
                                                "enable forwarding"};

bool contains(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Everything of the installation that stands, one a line: also the containers' own cgroups.
std::string census(const Installation& installation) {
  std::vector<std::string> found = installation.leftovers();
  for (const std::string& parent : installation.cgroup_parents())
    for (const std::string& name : list_directory(parent))
      if (parse_unsigned(name)) found.push_back("cgroup " + parent + " " + name);
  for (const std::string& name : list_directory(installation.state_directory()))
    if (name.starts_with('.')) found.push_back("file " + name);
  std::sort(found.begin(), found.end());
  return join(found, "\n");
}

// A file that also the container half can append to.
class Trace {
 public:
  Trace() {
    ::chmod(directory_.path().c_str(), 0711);
    replace_file(path(), "");
    ::chmod(path().c_str(), 0666);
  }
  std::string path() const { return directory_.path() + "/trace"; }
  // The names since the last call, each once.
  std::vector<std::string> take() const {
    std::vector<std::string> steps;
    for (const std::string& step : split(read_file(path()), '\n'))
      if (!step.empty() && !contains(steps, step)) steps.push_back(step);
    const UniqueFd emptied(::open(path().c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
    return steps;
  }

 private:
  TemporaryDirectory directory_;
};

struct Process {
  pid_t pid;
  char state;
  bool is_monitor;
};

// The living processes that Holm runs for this installation.
std::vector<Process> processes_of(const Installation& installation) {
  std::vector<Process> found;
  for (const std::string& entry : list_directory("/proc")) {
    const auto pid = parse_unsigned(entry);
    if (!pid) continue;
    std::string environment, command, stat, name;
    ignore_errors([&] {  // it ended
      environment = read_file("/proc/" + entry + "/environ");
      command = read_file("/proc/" + entry + "/cmdline");
      name = trim(read_file("/proc/" + entry + "/comm"));
      stat = read_file("/proc/" + entry + "/stat");
    });
    if (environment.find("HOLM_RUN_DIR=" + installation.run_directory()) == std::string::npos || stat.empty())
      continue;
    found.push_back({static_cast<pid_t>(*pid), stat[stat.rfind(')') + 2],
                     command.find("monitor-process") != std::string::npos && name != "holm-sampler"});
  }
  return found;
}

// Waits for a process of the installation to stop where HOLM_FAULT says; a CHECK fails where none does.
pid_t await_stopped(const Installation& installation) {
  pid_t stopped = 0;
  CHECK(eventually([&] {
    for (const Process& process : processes_of(installation))
      if (process.state == 'T') stopped = process.pid;
    return stopped != 0;
  }));
  return stopped;
}

void kill_process(pid_t pid) {
  REQUIRE(pid > 1);  // 0 would be this test's own group
  ::kill(pid, SIGKILL);
}

// A host with one container that must not notice anything.
class Scene {
 public:
  Scene() {
    installation.start("bystander", kNat);
    bystander_ = installation.pid_of("bystander");
    config = installation.write_config("box", kNat);
    standing_ = census(installation);
  }
  std::vector<std::string> trace_of(const std::vector<std::string>& words) const {
    installation.holm(words, {{"HOLM_FAULT_TRACE", trace_.path()}});
    return trace_.take();
  }
  void bystander_is_well() const {
    const Result list = installation.holm({"list", "-a", "-H", "-o", "name,state,pid"});
    CHECK(list.status == 0);
    bool is_well = false;
    for (const std::string& line : split(list.out, '\n'))
      is_well = is_well || split_words(line) ==
                               std::vector<std::string>{"bystander", "running", std::to_string(bystander_)};
    CHECK_MESSAGE(is_well, list.out);
    CHECK(installation.holm({"exec", "bystander", "true"}).status == 0);
  }
  // Whatever has happened to 'box': it can be destroyed, and nothing of it is left.
  void can_be_destroyed() const {
    bystander_is_well();
    const auto start = Clock::now();
    const Result result = installation.holm({"destroy", "--force", "box"});
    CHECK_MESSAGE(
        (result.status == 0 || result.errors.find("there is no container 'box'") != std::string::npos),
        result.errors);
    CHECK(Clock::now() - start < 5s * patience());
    CHECK(installation.column("box", "state").empty());
    is_clean();
  }
  // Whatever has happened to 'box': it can be started (unless it runs), works, and is then destroyed.
  void can_be_started() const {
    // Its monitor may go on for a moment, and an init that has ended counts as running until it is a zombie.
    eventually([&] {
      const std::string state = installation.column("box", "state");
      if (state == "running") return installation.holm({"exec", "box", "true"}).status == 0;
      return state != "starting" && state != "stopping";
    });
    if (installation.column("box", "state") != "running") {
      const auto start = Clock::now();
      const Result result = installation.holm({"start", config});
      // A killed command's monitor may have gone on and finished what it began.
      const bool was_faster = result.errors == "holm: cannot start container 'box': it is running already\n";
      CHECK_MESSAGE((result.status == 0 || was_faster), result.errors);
      CHECK(Clock::now() - start < 5s * patience());
    }
    CHECK(installation.column("box", "state") == "running");
    const Result exec = installation.holm({"exec", "box", "hostname"});
    CHECK_MESSAGE(exec.out == "box\n", exec.errors);
    can_be_destroyed();
  }
  void is_clean() const {
    const Result gc = installation.holm({"gc"});
    CHECK_MESSAGE(gc.status == 0, gc.errors);
    // A link ends a moment after its network namespace.
    CHECK_MESSAGE(eventually([&] { return census(installation) == standing_; }, 3s), census(installation),
                  "\n-- instead of:\n", standing_);
  }
  Result fails(const std::vector<std::string>& words, const std::string& fault) const {
    return installation.holm(words, {{"HOLM_FAULT", fault}});
  }

  Installation installation;
  std::string config;

 private:
  Trace trace_;
  pid_t bystander_ = 0;
  std::string standing_;
};

// How the end of an adopted container is told. Linux keeps its status for others than its parent from 6.15
// on; before, it is only known where the new monitor is faster than the parent.
bool is_end_of_adopted(const std::string& reason) {
  if (reason == "exited with status 7") return true;
  return !have_kernel(6, 15) &&
         (reason == "stopped" || reason == "ended while no monitor watched it; its status is not known");
}

bool is_status_of_adopted(int status) { return status == 7 || (!have_kernel(6, 15) && status == 1); }

}  // namespace

TEST_CASE("a start that is killed at any step leaves nothing, and the next command works") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Scene scene;
  auto steps = scene.trace_of({"start", scene.config});
  scene.can_be_destroyed();
  CHECK(steps.size() > 20);
  CHECK(contains(steps, "reserve a number"));
  CHECK(contains(steps, "start the monitor"));
  CHECK(contains(steps, "make cgroup"));
  CHECK(contains(steps, "switch root"));
  for (const std::string& step : kStepsInside)
    if (!contains(steps, step)) steps.push_back(step);
  for (const std::string& step : part_of(steps)) {
    CAPTURE(step);
    for (const bool start_again : {false, true}) {
      CAPTURE(start_again);
      const Result result = scene.fails({"start", scene.config}, "kill:" + step);
      // Steps of the monitor after the start succeed now and are met when the container ends.
      const bool later = step == "kill processes" || step == "remove cgroup" || step == "unmount the root";
      // Right before execve nobody can tell a death from a payload's that ended at once.
      if (step != "execute") CHECK((result.status == 0) == later);
      start_again ? scene.can_be_started() : scene.can_be_destroyed();
    }
  }
}

TEST_CASE("a start that fails at any step names the step and leaves nothing") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Scene scene;
  auto steps = scene.trace_of({"start", scene.config});
  scene.can_be_destroyed();
  for (const std::string& step : kStepsInside)
    if (!contains(steps, step)) steps.push_back(step);
  for (const std::string& step : part_of(steps)) {
    CAPTURE(step);
    const Result result = scene.fails({"start", scene.config}, "error:" + step);
    if (step == "kill processes" || step == "remove cgroup" || step == "unmount the root") {
      CHECK(result.status == 0);
    } else {
      CHECK(result.status != 0);
      CHECK_MESSAGE(result.errors.find("injected fault") != std::string::npos, result.errors);
      CHECK_MESSAGE(result.errors.find("step '" + step + "'") != std::string::npos, result.errors);
      CHECK_MESSAGE(result.errors.find("also:") == std::string::npos, result.errors);
      const std::string state = scene.installation.column("box", "state");
      CHECK((state.empty() || state == "stopped"));
    }
    scene.can_be_started();
  }
}

TEST_CASE("the first start of an installation, which makes the network, can be killed and fail anywhere") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Installation installation;
  const std::string config = installation.write_config("box", kNat);
  for (const std::string& step : part_of(kNetworkSteps)) {
    for (const char* action : {"kill:", "error:"}) {
      CAPTURE(step);
      CAPTURE(action);
      CHECK(installation.holm({"start", config}, {{"HOLM_FAULT", action + step}}).status != 0);
      CHECK(installation.holm({"list", "-a"}).status == 0);
      const Result start = installation.holm({"start", config});
      CHECK_MESSAGE(start.status == 0, start.errors);
      CHECK(installation.holm({"exec", "box", "ip", "route"}).out.find("default via") != std::string::npos);
      CHECK(installation.holm({"start", config}, {{"HOLM_FAULT", action + step}}).status != 0);
      installation.holm_ok({"destroy", "--force", "box"});
      installation.holm_ok({"gc"});
      CHECK(installation.leftovers().empty());
      // Without a start in between, gc alone finds what the killed one made.
      installation.holm({"start", config}, {{"HOLM_FAULT", action + step}});
      installation.holm_ok({"destroy", "--force", "box"});
      installation.holm_ok({"gc"});
      CHECK_MESSAGE(installation.leftovers().empty(), join(installation.leftovers(), ", "));
    }
  }
}

TEST_CASE("a stop that is killed or fails at any step can be said again") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Scene scene;
  scene.installation.holm_ok({"start", scene.config});
  const auto steps = scene.trace_of({"stop", "-t", "100ms", "box"});
  CHECK(contains(steps, "announce the stop"));
  CHECK(contains(steps, "kill init"));
  for (const std::string& step : part_of(steps)) {
    for (const char* action : {"kill:", "error:"}) {
      for (const char* next : {"stop", "destroy", "start"}) {
        CAPTURE(step);
        CAPTURE(action);
        CAPTURE(next);
        scene.installation.holm_ok({"start", scene.config});
        CHECK(scene.fails({"stop", "-t", "100ms", "box"}, action + step).status != 0);
        if (next == std::string("stop")) {
          scene.installation.holm({"stop", "-t", "100ms", "box"});
          CHECK(scene.installation.column("box", "state") == "stopped");
        }
        next == std::string("start") ? scene.can_be_started() : scene.can_be_destroyed();
      }
    }
  }
}

TEST_CASE("a destroy that is killed or fails at any step can be said again, or the name be used anew") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Scene scene;
  for (const bool running : {false, true}) {
    CAPTURE(running);
    const auto prepare = [&] {
      scene.installation.holm_ok({"start", scene.config});
      if (!running) scene.installation.holm_ok({"stop", "-k", "box"});
    };
    prepare();
    const auto steps = scene.trace_of({"destroy", "--force", "box"});
    CHECK(contains(steps, "remove the container's directory"));
    for (const std::string& step : part_of(steps)) {
      for (const char* action : {"kill:", "error:"}) {
        for (const bool start_again : {false, true}) {
          CAPTURE(step);
          CAPTURE(action);
          CAPTURE(start_again);
          prepare();
          scene.fails({"destroy", "--force", "box"}, action + step);
          start_again ? scene.can_be_started() : scene.can_be_destroyed();
        }
      }
    }
  }
}

TEST_CASE("a run --rm that is killed at any step leaves nothing") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Scene scene;
  const std::vector<std::string> words = {"run", "--rm", scene.config, "--", "sh", "-c", "exit 5"};
  auto steps = scene.trace_of(words);
  for (const std::string& step : kStepsInside)
    if (!contains(steps, step)) steps.push_back(step);
  for (const std::string& step : part_of(steps)) {
    for (const char* action : {"kill:", "error:"}) {
      CAPTURE(step);
      CAPTURE(action);
      const auto start = Clock::now();
      const int status = scene.fails(words, action + step).status;
      CHECK((status == 5 || status == 125 || status == 137));
      CHECK(Clock::now() - start < 5s * patience());
      scene.can_be_destroyed();
    }
  }
}

TEST_CASE("a rename that is killed at any step can be said again, and numbers are never shared") {
  HOLM_REQUIRES("root", have_root());
  const Scene scene;
  const Installation& installation = scene.installation;
  installation.holm_ok({"create", scene.config});
  const auto steps = scene.trace_of({"rename", "box", "other"});
  CHECK(contains(steps, "rename the reservations"));
  installation.holm_ok({"destroy", "other"});
  for (const std::string& step : part_of(steps)) {
    CAPTURE(step);
    installation.holm_ok({"start", scene.config});
    const std::string number = installation.column("box", "number");
    installation.holm_ok({"stop", "-k", "box"});
    CHECK(scene.fails({"rename", "box", "other"}, "kill:" + step).status == 137);
    CHECK(installation.holm({"list", "-a"}).status == 0);
    const bool renamed = installation.column("box", "state").empty();
    if (!renamed) installation.holm_ok({"rename", "box", "other"});
    // The old name is free: what is made of it has a number of its own.
    installation.holm_ok({"start", scene.config});
    installation.holm_ok({"start", "other"});
    CHECK(installation.column("other", "number") == number);
    CHECK(installation.column("box", "number") != number);
    installation.holm_ok({"destroy", "--force", "other"});
    scene.can_be_destroyed();
  }
}

TEST_CASE("a command that is killed in the middle of a start leaves a container or none, never a half") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Scene scene;
  const Installation& installation = scene.installation;
  const auto steps = scene.trace_of({"start", scene.config});
  scene.can_be_destroyed();
  for (const std::string& step : part_of(steps)) {
    CAPTURE(step);
    const pid_t command =
        installation.holm_background({"start", scene.config}, {{"HOLM_FAULT", "stop:" + step}});
    pid_t stopped = 0;
    // The container half cannot stop itself, as the kernel shields an init; there the start just goes on.
    eventually(
        [&] {
          for (const Process& process : processes_of(installation))
            if (process.state == 'T') stopped = process.pid;
          return stopped != 0 || installation.column("box", "state") == "running";
        },
        3s);
    kill_process(command);
    wait_status(command);
    if (stopped != 0 && stopped != command) ::kill(stopped, SIGCONT);
    const auto is_settled = [&] {
      const std::string state = installation.column("box", "state");
      return state.empty() || state == "running" || state == "stopped";
    };
    CHECK(eventually(is_settled, 3s));
    if (installation.column("box", "state") == "running")
      CHECK(installation.holm({"exec", "box", "true"}).status == 0);
    scene.can_be_started();
  }
}

TEST_CASE("nobody enters a container before its init executes, as its files are the host's until then") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config = installation.write_config("box", kSleeper);
  const pid_t start =
      installation.holm_background({"start", config}, {{"HOLM_FAULT", "stop:write the id map"}});
  const pid_t stopped = await_stopped(installation);
  CHECK(installation.column("box", "state") == "starting");
  const Result exec = installation.holm({"exec", "box", "true"});
  CHECK(exec.status == 125);
  CHECK_MESSAGE(exec.errors.find("container 'box' is just being started") != std::string::npos, exec.errors);
  CHECK(installation.holm({"shell", "box"}).status == 125);
  if (stopped != 0) ::kill(stopped, SIGCONT);
  CHECK(wait_status(start) == 0);
  CHECK(installation.holm({"exec", "box", "true"}).status == 0);
}

TEST_CASE("what a verb was about to work on may be destroyed before it has the lock") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config = installation.write_config("box", kSleeper);
  for (const char* verb : {"start", "stop", "pause", "resume", "reboot"}) {
    CAPTURE(verb);
    installation.holm_ok({"create", config});
    const pid_t command =
        installation.holm_background({verb, "box"}, {{"HOLM_FAULT", "stop:lock the container"}});
    const pid_t stopped = await_stopped(installation);
    CHECK(stopped == command);
    installation.holm_ok({"destroy", "box"});
    if (stopped != 0) ::kill(stopped, SIGCONT);
    CHECK(wait_status(command) == 1);
    CHECK(list_directory(installation.run_directory()).empty());
  }
}

TEST_CASE("a container whose monitor is killed runs on, is adopted, and its end is known") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Installation installation;
  const std::string script =
      "command = [\"/bin/sh\", \"-c\", \"trap 'exit 7' TERM; while :; do sleep 0.02; done\"]\n";
  const std::string config = installation.write_config("box", script + "[[network]]\nmode = \"nat\"\n");
  const auto becomes = [&](const char* state) {
    return eventually([&] { return installation.column("box", "state") == state; });
  };
  const auto orphan = [&] {
    installation.holm_ok({"start", config});
    const pid_t monitor = installation.monitor_of("box");
    CHECK(monitor > 1);
    kill_process(monitor);
    CHECK(becomes("orphaned"));
    CHECK(installation.column("box", "address").starts_with("10."));
    return monitor;
  };
  const auto is_adopted = [&](pid_t before, pid_t init) {
    CHECK(installation.column("box", "state") == "running");
    CHECK(installation.pid_of("box") == init);
    CHECK(installation.monitor_of("box") != before);
  };
  const auto has_ended = [&] {
    CHECK(becomes("stopped"));
    const std::string reason = installation.column("box", "reason");
    CHECK_MESSAGE(is_end_of_adopted(reason), reason);
    CHECK(installation.leftovers().size() > 0);
  };
  {
    const pid_t monitor = orphan(), init = installation.pid_of("box");
    CHECK(installation.holm({"exec", "box", "true"}).status == 0);
    installation.holm_ok({"gc"});
    is_adopted(monitor, init);
    installation.holm_ok({"stop", "box"});
    has_ended();
    CHECK(is_status_of_adopted(installation.holm({"wait", "box"}).status));
  }
  {
    orphan();
    installation.holm_ok({"stop", "box"});
    has_ended();
  }
  {
    const pid_t monitor = orphan(), init = installation.pid_of("box");
    CHECK(installation.holm({"start", "box"}).errors ==
          "holm: cannot start container 'box': it is running already\n");
    is_adopted(monitor, init);
    ::kill(init, SIGTERM);
    has_ended();
  }
  {
    orphan();
    installation.holm_ok({"kill", "-s", "TERM", "box"});
    has_ended();
  }
  {
    orphan();
    const pid_t waiting = installation.holm_background({"wait", "box"});
    CHECK(becomes("running"));
    ::kill(installation.pid_of("box"), SIGTERM);
    CHECK(is_status_of_adopted(wait_status(waiting)));
  }
  {
    const pid_t monitor = orphan(), init = installation.pid_of("box");
    installation.holm_ok({"pause", "box"});
    CHECK(installation.column("box", "state") == "paused");
    kill_process(installation.monitor_of("box"));
    CHECK(becomes("orphaned"));
    installation.holm_ok({"resume", "box"});
    is_adopted(monitor, init);
    installation.holm_ok({"reboot", "-t", "1", "box"});
    CHECK(installation.column("box", "state") == "running");
    CHECK(installation.pid_of("box") != init);
    CHECK(installation.holm({"rename", "box", "other"}).status == 1);
    installation.holm_ok({"destroy", "--force", "box"});
  }
  {
    // Many times over, and by many commands at once.
    orphan();
    for (int i = 0; i < 5; ++i) {
      installation.holm({"gc"});
      CHECK(becomes("running"));
      kill_process(installation.monitor_of("box"));
      CHECK(becomes("orphaned"));
    }
    std::vector<pid_t> commands;
    for (int i = 0; i < 6; ++i)
      commands.push_back(installation.holm_background(i % 2 ? std::vector<std::string>{"gc"}
                                                            : std::vector<std::string>{"start", "box"}));
    for (const pid_t command : commands) wait_status(command);
    CHECK(installation.column("box", "state") == "running");
    // One that came too late to adopt it ends at once, what the one forks for the ledger soon.
    CHECK(eventually([&] {
      const auto processes = processes_of(installation);
      return std::ranges::count_if(processes, &Process::is_monitor) == 1;
    }));
    installation.holm_ok({"destroy", "--force", "box"});
  }
}

TEST_CASE("an end that nobody watched is put right by the next command") {
  HOLM_REQUIRES("root, nat", have_nat());
  const Installation installation;
  const std::string config = installation.write_config("box", kNat);
  for (const char* next : {"gc", "start", "wait", "destroy"}) {
    CAPTURE(next);
    installation.holm_ok({"start", config});
    const pid_t init = installation.pid_of("box");
    kill_process(installation.monitor_of("box"));
    kill_process(init);
    CHECK(eventually([&] { return installation.column("box", "state") == "stopped"; }));
    const Result result = installation.holm(
        next == std::string("gc") ? std::vector<std::string>{"gc"} : std::vector<std::string>{next, "box"});
    CHECK(result.status == (next == std::string("wait") ? 125 : 0));
    if (next == std::string("start")) {
      CHECK(installation.column("box", "state") == "running");
    } else if (next != std::string("destroy")) {
      CHECK(installation.column("box", "reason") ==
            "its monitor was killed before init ran or after it ended");
    }
    installation.holm({"destroy", "--force", "box"});
    installation.holm_ok({"gc"});
    CHECK(eventually([&] { return installation.leftovers().empty(); }, 3s));
  }
}

TEST_CASE(
    "a monitor that is killed while its container waits for a restart leaves it stopped, and says why") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config = installation.write_config(
      "box", "on_crash = \"restart\"\ncommand = [\"/bin/sh\", \"-c\", \"exit 4\"]\n");
  for (const char* next : {"gc", "start", "stop", "destroy"}) {
    CAPTURE(next);
    installation.holm_ok({"start", config});
    const std::string state = read_file(installation.run_directory() + "/box/state.json");
    const auto monitor = nlohmann::json::parse(state).at("monitor").at("pid").get<pid_t>();
    REQUIRE(monitor > 1);
    uint64_t restarts = 0;
    CHECK(eventually([&] {
      ::kill(monitor, SIGSTOP);  // so that the pause is not over before it is killed
      const auto words = split_words(installation.holm_ok({"list", "-a", "-H", "-o", "state,restarts"}));
      restarts = words.size() == 2 ? parse_unsigned(words[1]).value_or(0) : 0;
      if (restarts > 0 && words[0] == "restarting") return true;
      ::kill(monitor, SIGCONT);
      return false;
    }));
    kill_process(monitor);
    CHECK(eventually([&] { return installation.column("box", "state") == "stopped"; }));
    const Result result = installation.holm(
        next == std::string("gc") ? std::vector<std::string>{"gc"} : std::vector<std::string>{next, "box"});
    CHECK_MESSAGE(result.status == (next == std::string("stop") ? 1 : 0), result.errors);
    if (next == std::string("gc"))
      CHECK(installation.column("box", "reason") ==
            fmt::format("exited with status 4; restart {} after {:.1f} s; its monitor was killed",
                        restarts + 1, 0.5 * static_cast<double>(1 << restarts)));
    installation.holm({"destroy", "--force", "box"});
  }
}

TEST_CASE("a file that a killed reservation left is removed by gc") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kSleeper);
  for (const char* name : {"/numbers/.9.4194303", "/addresses/.9.4194303"}) {
    sys::make_directories(installation.state_directory() + (name[1] == 'n' ? "/numbers" : "/addresses"),
                          0700);
    CHECK(::symlink("nobody", (installation.state_directory() + name).c_str()) == 0);
  }
  sys::make_directories(installation.state_directory() + "/containers/.lost.new/upper", 0700);
  sys::make_directories(installation.state_directory() + "/containers/.gone.destroyed/work", 0700);
  sys::make_directories(installation.run_directory() + "/lost", 0700);
  installation.holm_ok({"gc"});
  CHECK(list_directory(installation.state_directory() + "/numbers") == std::vector<std::string>{"1"});
  CHECK(list_directory(installation.state_directory() + "/addresses").empty());
  CHECK(list_directory(installation.state_directory() + "/containers") == std::vector<std::string>{"box"});
  CHECK(list_directory(installation.run_directory()) == std::vector<std::string>{"box"});
  CHECK(installation.column("box", "state") == "running");
}
