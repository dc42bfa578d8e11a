// Terminals: the console and its clients, run and exec on a terminal, the log.
#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/local_socket.h"
#include "tests/support/holm_runner.h"
#include "tests/support/pty_program.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kShell = "command = [\"/bin/sh\"]\nenv = { PS1 = \"ready$ \" }\n";
constexpr const char* kDetach = "\x1d";

std::string shell(const std::string& script) {
  return "command = [\"/bin/sh\", \"-c\", '''" + script + "''']\n";
}

PtyProgram on_terminal(const Installation& installation, std::vector<std::string> words) {
  words.insert(words.begin(), holm_program());
  return PtyProgram(words, installation.environment());
}

uint64_t size_of(const std::string& path) {
  const auto status = sys::stat_path(path);
  return status ? static_cast<uint64_t>(status->st_size) : 0;
}

}  // namespace

TEST_CASE("a person attaches to the console, types, sees, and leaves with Ctrl-]") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kShell);
  for (int visit = 0; visit < 2; ++visit) {
    CAPTURE(visit);
    PtyProgram terminal = on_terminal(installation, {"console", "box"});
    CHECK(terminal.shows("console of 'box'; Ctrl-] leaves it"));
    CHECK(eventually([&] { return terminal.is_raw(); }));
    terminal.type("echo six times seven is $((6 * 7))\n");
    CHECK(terminal.shows("six times seven is 42"));
    terminal.type("tty; hostname\n");
    CHECK(terminal.shows("/dev/console"));
    CHECK(terminal.shows("box"));
    terminal.type(kDetach);
    CHECK(terminal.wait() == 0);
    CHECK_FALSE(terminal.is_raw());
    CHECK(installation.column("box", "state") == "running");
  }
  CHECK(installation.holm_ok({"log", "box"}).find("six times seven is 42") != std::string::npos);
}

TEST_CASE("the console has the size of the terminal, also after it changed") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kShell);
  PtyProgram terminal = on_terminal(installation, {"console", "box"});
  CHECK(terminal.shows("Ctrl-]"));
  std::this_thread::sleep_for(50ms);
  terminal.type("stty size\n");
  CHECK(terminal.shows("30 100"));
  terminal.resize(44, 123);
  std::this_thread::sleep_for(50ms);
  terminal.type("stty size\n");
  CHECK(terminal.shows("44 123"));
  terminal.type(kDetach);
  CHECK(terminal.wait() == 0);
}

TEST_CASE("two people share a console, and one may leave or vanish") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kShell);
  PtyProgram one = on_terminal(installation, {"console", "box"});
  CHECK(one.shows("Ctrl-]"));
  {
    PtyProgram two = on_terminal(installation, {"console", "box"});
    CHECK(two.shows("Ctrl-]"));
    std::this_thread::sleep_for(50ms);
    one.type("echo from $((10 + 1))\n");
    CHECK(two.shows("from 11"));
    two.type("echo from $((20 + 2))\n");
    CHECK(one.shows("from 22"));
  }
  PtyProgram third = on_terminal(installation, {"console", "box"});
  CHECK(third.shows("Ctrl-]"));
  third.hang_up();
  CHECK(third.wait().has_value());
  one.type("echo still $((40 + 4))\n");
  CHECK(one.shows("still 44"));
  // The end of the container ends the console.
  installation.holm_ok({"stop", "-k", "box"});
  CHECK(one.wait() == 0);
  CHECK_FALSE(one.is_raw());
}

TEST_CASE("run on a terminal gives the payload a terminal, and its exit status comes back") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config =
      installation.write_config("job", shell("tty; stty size; read line; echo got $line; exit 9"));
  PtyProgram terminal = on_terminal(installation, {"run", "--rm", config});
  CHECK(terminal.shows("/dev/console"));
  CHECK(terminal.shows("30 100"));
  terminal.type("words\n");
  CHECK(terminal.shows("got words"));
  CHECK(terminal.wait() == 9);
  CHECK_FALSE(terminal.is_raw());
  CHECK(installation.column("job", "state").empty());
}

TEST_CASE("Ctrl-C on run's terminal reaches the payload, not Holm") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config = installation.write_config(
      "job", shell("trap 'echo caught; exit 21' INT; echo waiting; while :; do sleep 0.05; done"));
  PtyProgram terminal = on_terminal(installation, {"run", config});
  CHECK(terminal.shows("waiting"));
  terminal.type("\x03");
  CHECK(terminal.shows("caught"));
  CHECK(terminal.wait() == 21);
}

TEST_CASE("Ctrl-] detaches from a run, and the console comes back to it") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config = installation.write_config("job", kShell);
  PtyProgram terminal = on_terminal(installation, {"run", config});
  CHECK(terminal.shows("ready$ "));
  terminal.type(kDetach);
  CHECK(terminal.shows("detached; 'holm console job' comes back"));
  CHECK(terminal.wait() == 0);
  CHECK(installation.column("job", "state") == "running");
  PtyProgram console = on_terminal(installation, {"console", "job"});
  CHECK(console.shows("Ctrl-]"));
  std::this_thread::sleep_for(50ms);
  console.type("echo back $((3 + 4)); exit 5\n");
  CHECK(console.shows("back 7"));
  CHECK(console.wait() == 0);
  CHECK(installation.holm({"wait", "job"}).status == 5);
}

TEST_CASE("a run whose terminal is closed ends its container") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  for (const char* work : {"sleep 0.05", "echo noise; sleep 0.01"}) {
    CAPTURE(work);
    const std::string config = installation.write_config(
        "job", shell(std::string("trap 'exit 3' TERM; echo up; while :; do ") + work + "; done"));
    PtyProgram terminal = on_terminal(installation, {"run", config});
    CHECK(terminal.shows("up"));
    terminal.hang_up();
    CHECK(terminal.wait().has_value());
    CHECK(eventually([&] { return installation.column("job", "state") == "stopped"; }));
  }
}

TEST_CASE("a container that was started from a terminal outlives it") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config = installation.write_config("box", kShell);
  pid_t init = 0;
  {
    PtyProgram terminal(
        {"/bin/sh", "-c", holm_program() + " start " + config + " && echo it runs; sleep 1000"},
        installation.environment());
    CHECK(terminal.shows("it runs"));
    init = installation.pid_of("box");
    terminal.hang_up();  // SIGHUP to the whole session
    CHECK(terminal.wait().has_value());
  }
  const auto monitor =
      nlohmann::json::parse(installation.holm_ok({"--json", "list"}))[0].at("monitor_pid").get<pid_t>();
  REQUIRE(monitor > 1);
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTSTP}) ::kill(monitor, signal);
  std::this_thread::sleep_for(50ms);
  CHECK(installation.column("box", "state") == "running");
  CHECK(installation.pid_of("box") == init);
  CHECK(sys::read_link("/proc/" + std::to_string(monitor) + "/cwd") == "/");
  installation.holm_ok({"stop", "-k", "box"});
}

TEST_CASE("exec -t gives a terminal of the container's own, with its size and exit status") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kShell);
  PtyProgram terminal = on_terminal(
      installation,
      {"exec", "-t", "box", "sh", "-c", "tty; stty size; ls -l $(tty); read x; echo got $x; exit 6"});
  CHECK(terminal.shows("/dev/pts/"));
  CHECK(terminal.shows("30 100"));
  CHECK(terminal.shows("root"));
  terminal.type("it\n");
  CHECK(terminal.shows("got it"));
  CHECK(terminal.wait() == 6);
  CHECK_FALSE(terminal.is_raw());

  PtyProgram stuck = on_terminal(installation, {"exec", "-t", "box", "sh", "-c",
                                                "trap 'exit 13' INT; echo on; while :; do sleep 0.05; done"});
  CHECK(stuck.shows("on"));
  stuck.type("\x03");
  CHECK(stuck.wait() == 13);

  PtyProgram resized = on_terminal(
      installation, {"exec", "-t", "-u", "www-data", "box", "sh", "-c", "id -un; read x; stty size"});
  CHECK(resized.shows("www-data"));
  resized.resize(10, 77);
  std::this_thread::sleep_for(100ms);
  resized.type("\n");
  CHECK(resized.shows("10 77"));
  CHECK(resized.wait() == 0);
  CHECK(eventually([&] { return installation.column("box", "pids") == "1"; }));
}

TEST_CASE("an exec -t whose terminal is closed does not stay, and its payload is told") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kShell);
  PtyProgram terminal = on_terminal(installation, {"exec", "-t", "box", "sh", "-c", "echo on; sleep 1000"});
  CHECK(terminal.shows("on"));
  terminal.hang_up();
  CHECK(terminal.wait(3s).has_value());
  CHECK(eventually([&] { return installation.column("box", "pids") == "1"; }, 3s));
}

TEST_CASE("shell on a terminal is a login shell with a prompt") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kShell);
  PtyProgram terminal = on_terminal(installation, {"shell", "box"});
  CHECK(terminal.shows("@box:"));
  terminal.type("echo $0 $((5 * 5)) $TERM; exit 8\n");
  CHECK(terminal.shows("25"));
  CHECK(terminal.wait() == 8);
}

TEST_CASE("the console of a whole system is a login shell on its terminal") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", "init = \"/sbin/init\"\n");
  PtyProgram terminal = on_terminal(installation, {"console", "box"});
  CHECK(terminal.shows("Ctrl-]"));
  terminal.type("\n");
  CHECK(terminal.shows("@box:"));
  terminal.type("sleep 100; echo survived $((1 + 1))\n");
  std::this_thread::sleep_for(300ms * patience());
  terminal.type("\x03");  // job control works: it is the controlling terminal of the shell
  terminal.type("echo alive $((1 + 2))\n");
  CHECK(terminal.shows("alive 3", 5s));
  terminal.type(kDetach);
  CHECK(terminal.wait() == 0);
}

TEST_CASE("the log is bounded: it rotates at 1 MiB") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", shell("i=0; while [ $i -lt 75 ]; do head -c 30000 /dev/zero | tr '\\0' x; "
                                  "echo; i=$((i + 1)); done; echo done; sleep 1000"));
  const std::string log = installation.run_directory() + "/box/init.log";
  CHECK(eventually(
      [&] {
        return installation.holm({"log", "-n", "1", "box"}).out.find("done") != std::string::npos;
      },
      20s));
  CHECK(sys::exists(log + ".1"));
  CHECK(size_of(log) <= (1 << 20) + 8192);
  CHECK(size_of(log + ".1") <= (1 << 20) + 8192);
  CHECK(size_of(log) + size_of(log + ".1") > (1 << 20));
  CHECK_FALSE(sys::exists(log + ".2"));
}

TEST_CASE("a payload that floods the console does not keep Holm from anything") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", "command = [\"/usr/bin/yes\"]\n");
  CHECK(eventually([&] { return size_of(installation.run_directory() + "/box/init.log") > 100000; }));
  // A client that sees the flood but does not read it.
  PtyProgram terminal = on_terminal(installation, {"console", "box"});
  CHECK(terminal.shows("y\r\n"));
  std::this_thread::sleep_for(300ms);
  CHECK_FALSE(terminal.wait(0ms).has_value());  // slow as it is, it stays attached
  CHECK(installation.holm({"exec", "box", "true"}).status == 0);
  installation.holm_ok({"pause", "box"});
  installation.holm_ok({"resume", "box"});
  const auto start = Clock::now();
  installation.holm_ok({"stop", "-t", "500ms", "box"});
  CHECK(Clock::now() - start < 500ms + 2s * patience());
  CHECK(installation.column("box", "state") == "stopped");
  CHECK(terminal.wait() == 0);
}

TEST_CASE("clients that say nothing do not hold the monitor up") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.start("box", kShell);
  const std::string directory = installation.run_directory() + "/box";
  std::vector<UniqueFd> silent;
  for (const char* name : {"monitor.sock", "console.sock", "console.sock"})
    silent.push_back(runtime::connect_local(directory, name));
  const auto start = Clock::now();
  installation.holm_ok({"reboot", "-t", "0", "box"});
  installation.holm_ok({"stop", "-k", "box"});
  CHECK(Clock::now() - start < 3s * patience());
}

TEST_CASE(
    "a run in the background of a pipeline ends when its reader is gone, and big output arrives whole") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string config =
      installation.write_config("job", shell("head -c 3000000 /dev/zero | tr '\\0' x"));
  const Result whole = installation.holm({"run", "--rm", config});
  CHECK(whole.status == 0);
  CHECK(whole.out == std::string(3000000, 'x'));
  const auto start = Clock::now();
  const Result cut = run_host({"sh", "-c", holm_program() + " run --rm " + config + " yes | head -n 2"},
                              installation.environment());
  CHECK(cut.out == "y\ny\n");
  CHECK(Clock::now() - start < 5s * patience());
  CHECK(eventually([&] { return installation.column("job", "state").empty(); }));
}
