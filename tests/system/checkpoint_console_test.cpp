// Terminals of containers that are saved and go on: the console, with shells and logins on it.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <chrono>

#include "tests/support/criu.h"
#include "tests/support/pty_program.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;

TEST_CASE("the console goes on: output comes to the log, a person can attach, and it can be saved again") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  const std::string file = installation.directory() + "/box.holm";
  installation.start("box", "command = [\"/bin/sh\"]\nenv = { PS1 = \"ready$ \" }\n");
  const auto types = [&](const std::string& name, int number) {
    PtyProgram terminal({holm_program(), "console", name}, installation.environment());
    CHECK(terminal.shows("console of '" + name + "'; Ctrl-] leaves it"));
    CHECK(eventually([&] { return terminal.is_raw(); }));
    terminal.type(fmt::format("x=${{x}}{}; echo it is $x; tty; stty size\n", number));
    std::string all;
    for (int i = 1; i <= number; ++i) all += std::to_string(i);
    CHECK(terminal.shows("it is " + all));
    CHECK(terminal.shows("/dev/console"));
    CHECK(terminal.shows("30 100"));
    terminal.type("\x1d");
    CHECK(terminal.wait() == 0);
    CHECK(installation.holm_ok({"log", name}).find("it is " + all) != std::string::npos);
  };
  types("box", 1);
  suspend_and_go_on(installation, "box");
  types("box", 2);
  suspend_and_go_on(installation, "box");
  types("box", 3);
  installation.holm_ok({"save", "--leave-running", "box", file});
  installation.holm_ok({"restore", file, "--name", "copy"});
  types("copy", 4);
  types("box", 4);
  // A console to which somebody is attached is saved as well, and its client is told of the end.
  PtyProgram terminal({holm_program(), "console", "box"}, installation.environment());
  CHECK(terminal.shows("Ctrl-]"));
  installation.holm_ok({"stop", "--checkpoint", "box"});
  CHECK(terminal.wait() == 0);
  installation.holm_ok({"start", "box"});
  types("box", 5);
}

TEST_CASE("a whole system with a login shell on its console goes on") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", "init = \"/sbin/init\"\n");
  {
    PtyProgram terminal({holm_program(), "console", "box"}, installation.environment());
    CHECK(terminal.shows("Ctrl-]"));
    terminal.type("\n");
    CHECK(terminal.shows("@box:"));
    terminal.type("kept=yes; echo set $((1 + 1))\n");
    CHECK(terminal.shows("set 2"));
    terminal.type("\x1d");
    CHECK(terminal.wait() == 0);
  }
  suspend_and_go_on(installation, "box");
  PtyProgram terminal({holm_program(), "console", "box"}, installation.environment());
  CHECK(terminal.shows("Ctrl-]"));
  terminal.type("echo kept is $kept\n");
  CHECK(terminal.shows("kept is yes"));
  terminal.type("sleep 100; echo slept $((1 + 1))\n");
  // Its process takes the terminal before it executes that.
  CHECK(eventually([&] { return inside(installation, "box", "pidof sleep").status == 0; }));
  terminal.type("\x03");
  terminal.type("echo alive $((1 + 2))\n");
  CHECK(terminal.shows("alive 3"));
  terminal.type("echo bye $((2 + 2)); exit\n");
  const auto has_next_shell = [&] {  // whose prompt comes after the first one's last words
    const std::string& screen = terminal.screen();
    const size_t end = screen.find("bye 4");
    return end != std::string::npos && screen.find("@box:", end) != std::string::npos;
  };
  CHECK(eventually(has_next_shell));
  const auto is_off = [&] {
    if (installation.column("box", "state") == "stopped") return true;
    installation.holm({"exec", "box", "poweroff"});  // init misses it while it does something else
    return false;
  };
  CHECK(eventually(is_off, 15s));
  CHECK(installation.column("box", "reason") == "powered off");
}

// Each of the shells has /dev/tty open, which is another terminal for each.
TEST_CASE("shells on terminals of the container's own go on beside the one on the console") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", "init = \"/sbin/init\"\n[[network]]\nmode = \"none\"\n");
  const auto on_console = [&](const std::string& line, const std::string& answer) {
    PtyProgram terminal({holm_program(), "console", "box"}, installation.environment());
    CHECK(terminal.shows("Ctrl-]"));
    terminal.type("\n");
    CHECK(terminal.shows("@box:"));
    terminal.type(line + "\n");
    CHECK(terminal.shows(answer));
    terminal.type("\x1d");
    CHECK(terminal.wait() == 0);
  };
  const auto shown = [&](int session) {
    return read_file_if_exists(upper_of(installation, "box") + fmt::format("/root/out{}", session))
        .value_or("");
  };
  on_console("kept=yes; /usr/sbin/telnetd -b 127.0.0.1:2323 -l /bin/sh; echo told $((1 + 1))", "told 2");
  // Its parent ends before it listens.
  const auto listens = [&] {
    return inside(installation, "box", "grep -q ':0913 00000000:0000 0A' /proc/net/tcp").status == 0;
  };
  REQUIRE(eventually(listens));
  for (const int session : {1, 2})
    on_console(fmt::format("mkfifo /root/in{0}; nc 127.0.0.1 2323 <> /root/in{0} > /root/out{0} & "
                           "echo 'x=shell{0}; tty' > /root/in{0}; echo said $((1 + 2))",
                           session),
               "said 3");
  for (const int session : {1, 2}) CHECK(eventually([&] { return shown(session).contains("/dev/pts/"); }));
  for (const int generation : {1, 2}) {
    suspend_and_go_on(installation, "box");
    on_console("echo kept is $kept", "kept is yes");
    for (const int session : {1, 2}) {
      on_console(fmt::format("echo 'echo {0} $x; tty < /dev/tty' > /root/in{1}; echo said $((1 + 2))",
                             generation, session),
                 "said 3");
      CHECK(eventually(
          [&] { return shown(session).contains(fmt::format("{} shell{}", generation, session)); }));
    }
  }
}

TEST_CASE("a shell within another one's session is told to lose its terminal's control") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", "command = [\"/bin/sh\"]\nenv = { PS1 = \"ready$ \" }\n");
  const std::string fine = "ok       container 'box' can be saved\n";
  CHECK(installation.holm({"check", "box"}).out == fine);
  PtyProgram terminal({holm_program(), "console", "box"}, installation.environment());
  CHECK(terminal.shows("console of 'box'; Ctrl-] leaves it"));
  terminal.type("sh -c 'PS1=\"in\"ner sh; true'\n");
  CHECK(terminal.shows("inner"));
  const std::string verdict = installation.holm({"check", "box"}).out;
  CHECK_MESSAGE(verdict.contains("lost     process"), verdict);
  CHECK_MESSAGE(verdict.contains("control of its terminal"), verdict);
  terminal.type("exit\n");
  CHECK(eventually([&] { return installation.holm({"check", "box"}).out == fine; }));
}
