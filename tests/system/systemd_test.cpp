// Holm on a host whose groups belong to systemd: where its processes stand, and what systemd makes of that.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "quotas/cgroup.h"
#include "tests/support/inside.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

constexpr const char* kSleeper = "command = [\"/bin/sleep\", \"1000\"]\n";

bool have_systemd() {
  return have_root() && quotas::detect_cgroup_manager() == quotas::CgroupLayout::Manager::systemd;
}

std::string unit_of(const Installation& installation) { return "holm-" + installation.mark() + ".scope"; }

// A property of a unit, as systemd has it.
std::string property(const std::string& unit, const std::string& name) {
  return std::string(trim(run_host({"systemctl", "show", "--value", "-p", name, unit}).out));
}

bool is_gone(const Installation& installation) {
  return eventually([&] { return property(unit_of(installation), "LoadState") == "not-found"; }, 5s);
}

// Its group in the hierarchy by which systemd knows its units.
std::string group_of(pid_t pid) {
  std::string named, unified;
  for (const std::string& line : split(read_file(fmt::format("/proc/{}/cgroup", pid)), '\n')) {
    if (line.starts_with("0::")) unified = line.substr(3);
    if (const size_t at = line.find(":name=systemd:"); at != std::string::npos) named = line.substr(at + 14);
  }
  return unified.empty() || unified == "/" ? named : unified;
}

}  // namespace

TEST_CASE("under systemd containers and monitors stand in a delegated scope, which goes with the last") {
  HOLM_REQUIRES("root, systemd as process 1", have_systemd());
  Installation installation;
  installation.start("box", kSleeper);
  const std::string scope = "/machine.slice/" + unit_of(installation);
  CHECK(group_of(installation.monitor_of("box")) == scope + "/monitors");
  CHECK(group_of(installation.pid_of("box")) == scope + "/" + installation.column("box", "number"));
  CHECK(property(unit_of(installation), "ActiveState") == "active");
  CHECK(property(unit_of(installation), "Delegate") == "yes");
  CHECK(property(unit_of(installation), "TasksMax") == "infinity");
  CHECK(property(unit_of(installation), "Before").find("holm.service") != std::string::npos);
  CHECK(installation.holm_ok({"info"}).find(", in systemd's " + unit_of(installation)) != std::string::npos);
  for (const auto& hierarchy : quotas::detect_cgroup_layout().hierarchies)
    for (const std::string& group : list_directory(hierarchy.mount_point))
      CHECK_FALSE(group.starts_with("holm"));
  installation.holm_ok({"destroy", "--force", "box"});
  CHECK(is_gone(installation));
  installation.start("box", kSleeper);
  CHECK(property(unit_of(installation), "ActiveState") == "active");
}

TEST_CASE("limits hold whatever systemd does meanwhile to its own groups") {
  HOLM_REQUIRES("root, systemd as process 1", have_systemd());
  Installation installation;
  installation.start(
      "box", std::string(kSleeper) + "[memory]\nlimit = \"64M\"\n[pids]\nlimit = 50\n[cpu]\ncap = 50\n");
  const auto limits = [&] {
    return json::parse(installation.holm_ok({"--json", "inspect", "box"})).at("limits_in_kernel").dump();
  };
  const std::string before = limits();
  CHECK(before.find("67108864") != std::string::npos);
  for (const auto& command : std::vector<std::vector<std::string>>{
           {"systemctl", "daemon-reload"},
           {"systemctl", "set-property", "--runtime", "machine.slice", "CPUWeight=200"},
           {"systemctl", "set-property", "--runtime", "machine.slice", "CPUWeight="},
           {"systemd-run", "--scope", "--slice=machine.slice", "-p", "MemoryMax=50M", "true"},
           {"systemctl", "daemon-reexec"}}) {
    CAPTURE(join(command, " "));
    const Result result = run_host(command);
    CHECK_MESSAGE(result.status == 0, result.errors);
    CHECK(limits() == before);
    CHECK(installation.holm({"exec", "box", "true"}).status == 0);
  }
  // A second container gets its limits as the first did.
  installation.start("second", std::string(kSleeper) + "[memory]\nlimit = \"32M\"\n");
}

TEST_CASE("a container outlives the service and the scope that started it") {
  HOLM_REQUIRES("root, systemd as process 1", have_systemd());
  Installation installation;
  const std::string config = installation.write_config("box", kSleeper);
  std::vector<std::string> command = {"systemd-run", "--quiet", "--wait"};
  for (const auto& [name, value] : installation.environment())
    command.push_back("--setenv=" + name + "=" + value);
  command.insert(command.end(), {holm_program(), "start", config});
  const Result started = run_host(command);
  CHECK_MESSAGE(started.status == 0, started.errors);
  CHECK(installation.column("box", "state") == "running");

  const std::string caller = "holm-test-" + installation.mark() + "-caller.scope";
  const std::string other = installation.write_config("other", kSleeper);
  const pid_t shell = ::fork();
  if (shell == 0) {
    const std::string script = holm_program() + " start " + other + "; exec sleep 1000";
    run_host({"systemd-run", "--quiet", "--scope", "--unit=" + caller, "sh", "-c", script},
             installation.environment());
    ::_exit(0);
  }
  CHECK(eventually([&] { return installation.column("other", "state") == "running"; }));
  CHECK(run_host({"systemctl", "stop", caller}).status == 0);
  wait_status(shell);
  for (const char* name : {"box", "other"}) {
    CHECK(installation.column(name, "state") == "running");
    CHECK(sys::exists(fmt::format("/proc/{}", installation.monitor_of(name))));
  }
}

TEST_CASE("a start that is killed or fails while it asks systemd for the scope can be said again") {
  HOLM_REQUIRES("root, systemd as process 1", have_systemd());
  Installation installation;
  const std::string config = installation.write_config("box", kSleeper);
  for (const char* action : {"kill:", "error:"}) {
    CAPTURE(action);
    CHECK(
        installation.holm({"start", config}, {{"HOLM_FAULT", std::string(action) + "start systemd's scope"}})
            .status != 0);
    installation.holm_ok({"start", config});
    CHECK(installation.column("box", "state") == "running");
    installation.holm_ok({"destroy", "--force", "box"});
    CHECK(is_gone(installation));
  }
}

TEST_CASE("the unit's stop ends all that is in it, and the next start is as the first") {
  HOLM_REQUIRES("root, systemd as process 1", have_systemd());
  Installation installation;
  const std::string config = installation.write_config(
      "box", "command = [\"/bin/sh\", \"-c\", \"trap 'exit 0' TERM; while :; do sleep 0.1; done\"]\n");
  installation.holm_ok({"start", config});
  CHECK(run_host({"systemctl", "stop", unit_of(installation)}).status == 0);
  CHECK(eventually([&] { return installation.column("box", "state") == "stopped"; }));
  CHECK(is_gone(installation));
  installation.holm_ok({"start", config});
  CHECK(installation.column("box", "state") == "running");
}

TEST_CASE("scopes that come and go with short runs at once never lose one") {
  HOLM_REQUIRES("root, systemd as process 1", have_systemd());
  Installation installation;
  std::vector<pid_t> workers;
  for (int worker = 0; worker < 4; ++worker) {
    const std::string config =
        installation.write_config(fmt::format("job{}", worker), "command = [\"/bin/true\"]\n");
    const pid_t pid = ::fork();
    if (pid != 0) {
      workers.push_back(pid);
      continue;
    }
    int failed = 0;
    for (int round = 0; round < 15; ++round) {
      const Result result = installation.holm({"run", "--rm", config});
      if (result.status == 0) continue;
      ++failed;
      fmt::print(stderr, "{}", result.errors);
    }
    ::_exit(failed);
  }
  for (const pid_t worker : workers) CHECK(wait_status(worker) == 0);
  CHECK(is_gone(installation));
}
