// Monitors' way into systemd's scope, with a stand-in for systemd that is as hasty as it can be: it ends the
// scope as soon as it has seen it empty, whoever comes meanwhile.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/file_lock.h"
#include "quotas/systemd_scope.h"
#include "tests/support/inside.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;

namespace {

// A v2 hierarchy's group that serves as the top of one, and the unit's record of a systemd.
class StandIn {
 public:
  StandIn() {
    layout_.manager = quotas::CgroupLayout::Manager::systemd;
    const auto host = quotas::detect_cgroup_layout();
    for (const auto& hierarchy : host.hierarchies)
      if (hierarchy.is_v2) layout_.hierarchies = {hierarchy};
    layout_.hierarchies[0].mount_point += fmt::format("/holm-test-{}", ::getpid());
    for (const std::string& group : {top(), top() + "/machine.slice"}) ::mkdir(group.c_str(), 0755);
  }
  ~StandIn() {
    if (collector_ > 0) {
      ::kill(collector_, SIGKILL);
      ::waitpid(collector_, nullptr, 0);
    }
    for (const std::string& group :
         {scope() + "/monitors", scope(), top() + "/killed", top() + "/machine.slice", top()})
      eventually([&] { return ::rmdir(group.c_str()) == 0 || errno == ENOENT; }, 1s);
  }

  pid_t fork() const {
    return quotas::fork_into_scope(
        layout_, "holm", directory_.path() + "/lock",
        [this](const std::string& unit, pid_t process) { return start(unit, process); });
  }
  // Ends the scope whenever it is seen empty, without a second look.
  void collect() {
    collector_ = ::fork();
    if (collector_ != 0) return;
    for (unsigned round = 0;; ++round) {
      ::usleep(100);
      if (record() != "active") continue;  // first: a scope is populated before its unit is active
      const std::string events = read_file_if_exists(scope() + "/cgroup.events").value_or("");
      if (events.find("populated 0") == std::string::npos) continue;
      replace_file(record_path(), "dead");
      ::usleep(round % 5 * 700);
      // One that came in too late finds that out and goes at once.
      if (!eventually([&] { return remove_scope(); }, 500ms)) replace_file(directory_.path() + "/orphan", "");
      ::usleep(round % 3 * 900);
      ::unlink(record_path().c_str());
    }
  }

  std::string top() const { return layout_.hierarchies[0].mount_point; }
  std::string scope() const { return top() + "/machine.slice/holm.scope"; }
  std::string record() const { return read_file_if_exists(record_path()).value_or("none"); }
  bool has_orphan() const { return sys::exists(directory_.path() + "/orphan"); }

 private:
  bool remove_scope() const {
    ::rmdir((scope() + "/monitors").c_str());
    return ::rmdir(scope().c_str()) == 0 || errno == ENOENT;
  }
  std::string record_path() const { return directory_.path() + "/unit"; }
  quotas::ScopeStart start(const std::string& unit, pid_t process) const {
    CHECK(unit == "holm.scope");
    if (record() != "none") return quotas::ScopeStart::unit_exists;
    ::mkdir(scope().c_str(), 0755);
    write_control_file(scope() + "/cgroup.procs", std::to_string(process));
    replace_file(record_path(), "active");
    return quotas::ScopeStart::done;
  }

  quotas::CgroupLayout layout_;
  TemporaryDirectory directory_;
  pid_t collector_ = -1;
};

bool have_free_v2() {
  if (!have_root() || quotas::detect_cgroup_manager() != quotas::CgroupLayout::Manager::nobody) return false;
  const auto layout = quotas::detect_cgroup_layout();
  return std::any_of(layout.hierarchies.begin(), layout.hierarchies.end(),
                     [](const auto& hierarchy) { return hierarchy.is_v2; });
}

// What a new process finds: 0 where it is among the monitors of a unit that lives.
int status_of_birth(const StandIn& systemd) {
  const std::string groups = read_file("/proc/self/cgroup");
  if (groups.find("/machine.slice/holm.scope/monitors\n") == std::string::npos) return 3;
  return systemd.record() == "active" ? 0 : 4;
}

}  // namespace

TEST_CASE(
    "a process is made in a new scope, the next one in the same, and the scope's own group stays empty") {
  HOLM_REQUIRES("root, a cgroup v2 hierarchy that nobody manages", have_free_v2());
  StandIn systemd;
  std::vector<pid_t> pids;
  for (int i = 0; i < 3; ++i) {
    const pid_t pid = systemd.fork();
    if (pid == 0) {
      ::pause();
      ::_exit(0);
    }
    pids.push_back(pid);
    CHECK(read_file(fmt::format("/proc/{}/cgroup", pid)).find("/machine.slice/holm.scope/monitors\n") !=
          std::string::npos);
    CHECK(read_file(systemd.scope() + "/cgroup.procs").empty());
  }
  for (const pid_t pid : pids) {
    ::kill(pid, SIGKILL);
    wait_status(pid);
  }
}

TEST_CASE("where all monitors were killed, what is left in the scope shows that it stands") {
  HOLM_REQUIRES("root, a cgroup v2 hierarchy that nobody manages", have_free_v2());
  StandIn systemd;
  const auto born = [&] {
    const pid_t pid = systemd.fork();
    if (pid != 0) return pid;
    ::pause();
    ::_exit(0);
  };
  const pid_t first = born();
  const std::string container = systemd.scope() + "/7";
  ::mkdir(container.c_str(), 0755);
  write_control_file(container + "/cgroup.procs", std::to_string(first));
  const pid_t second = born();
  CHECK(split_words(read_file(systemd.scope() + "/monitors/cgroup.procs")) ==
        std::vector<std::string>{std::to_string(second)});
  for (const pid_t pid : {first, second}) {
    ::kill(pid, SIGKILL);
    wait_status(pid);
  }
  CHECK(eventually([&] { return ::rmdir(container.c_str()) == 0; }, 1s));
}

TEST_CASE("a caller whose group was once killed gets a process all the same") {
  HOLM_REQUIRES("root, a cgroup v2 hierarchy that nobody manages", have_free_v2());
  StandIn systemd;
  const std::string group = systemd.top() + "/killed";
  ::mkdir(group.c_str(), 0755);
  ignore_errors([&] { write_control_file(group + "/cgroup.kill", "1"); });  // Linux 5.14
  const pid_t caller = ::fork();
  if (caller == 0) {
    write_control_file(group + "/cgroup.procs", "0");
    const pid_t pid = systemd.fork();
    if (pid == 0) ::_exit(status_of_birth(systemd));
    ::_exit(wait_status(pid));
  }
  CHECK(wait_status(caller) == 0);
}

TEST_CASE("what systemd refuses is said, and no process is left waiting") {
  HOLM_REQUIRES("root, a cgroup v2 hierarchy that nobody manages", have_free_v2());
  StandIn systemd;
  auto layout = quotas::detect_cgroup_layout();
  layout.manager = quotas::CgroupLayout::Manager::systemd;
  TemporaryDirectory directory;
  pid_t holder = 0;
  std::string message;
  try {
    quotas::fork_into_scope(layout, "holm-test", directory.path() + "/lock",
                            [&](const std::string&, pid_t process) -> quotas::ScopeStart {
                              holder = process;
                              throw Error("start systemd's unit 'holm-test.scope': access denied");
                            });
  } catch (const Error& error) {
    message = error.message();
  }
  CHECK(message == "start systemd's unit 'holm-test.scope': access denied");
  CHECK(holder > 1);
  CHECK_FALSE(sys::exists(fmt::format("/proc/{}", holder)));
}

TEST_CASE("a caller that is killed leaves no process behind in the scope") {
  HOLM_REQUIRES("root, a cgroup v2 hierarchy that nobody manages", have_free_v2());
  for (int round = 0; round < 60; ++round) {
    CAPTURE(round);
    StandIn systemd;
    const pid_t caller = ::fork();
    if (caller == 0) {
      const pid_t pid = systemd.fork();
      if (pid == 0) ::_exit(0);
      wait_status(pid);
      ::_exit(0);
    }
    ::usleep(static_cast<useconds_t>(round) * 500);
    ::kill(caller, SIGKILL);
    wait_status(caller);
    const auto is_empty = [&] {
      return read_file_if_exists(systemd.scope() + "/cgroup.events")
                 .value_or("populated 0")
                 .find("populated 0") != std::string::npos;
    };
    CHECK(eventually(is_empty, 2s));
  }
}

TEST_CASE("of many that come and go at once none is ever in a scope that systemd has given up") {
  HOLM_REQUIRES("root, a cgroup v2 hierarchy that nobody manages", have_free_v2());
  StandIn systemd;
  systemd.collect();
  const auto rounds = static_cast<unsigned>(part_of(25));
  std::vector<pid_t> workers;
  for (unsigned worker = 0; worker < 8; ++worker) {
    const pid_t pid = ::fork();
    if (pid != 0) {
      workers.push_back(pid);
      continue;
    }
    int worst = 0;
    for (unsigned round = 0; round < rounds && worst == 0; ++round) {
      try {
        const pid_t born = systemd.fork();
        if (born == 0) {
          const int status = status_of_birth(systemd);
          ::usleep((worker * 7 + round * 13) % 40 * 100);
          ::_exit(status);
        }
        worst = wait_status(born);
      } catch (const Error& error) {
        fmt::print(stderr, "{}\n", error.report());
        worst = 5;
      }
      ::usleep((worker * 3 + round * 5) % 30 * 200);
    }
    ::_exit(worst);
  }
  for (const pid_t worker : workers) CHECK(wait_status(worker) == 0);
  CHECK(eventually([&] { return systemd.record() == "none"; }, 2s));
  CHECK_FALSE(systemd.has_orphan());
}
