// Every verb of `holm --help` with every option, as a user would give it.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/text.h"
#include "tests/support/holm_runner.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr const char* kSleeper = "command = [\"/bin/sleep\", \"1000\"]\n";

std::string shell(const std::string& script) {
  return "command = [\"/bin/sh\", \"-c\", '''" + script + "''']\n";
}

// Standard output of `holm --json WORDS...` as JSON; a failed CHECK where it is none.
json json_of(const Installation& installation, std::vector<std::string> words) {
  words.insert(words.begin(), "--json");
  const std::string text = installation.holm_ok(words);
  const json value = json::parse(text, nullptr, false);
  CHECK_MESSAGE(!value.is_discarded(), "no JSON: ", text);
  return value;
}

}  // namespace

TEST_CASE("list shows the columns that were asked for") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kSleeper);
  installation.holm_ok({"create", installation.write_config("idle", kSleeper)});

  const auto lines = split(installation.holm_ok({"list"}), '\n');
  CHECK(split_words(lines[0]) ==
        std::vector<std::string>{"NAME", "STATE", "PID", "ADDRESS", "MEMORY", "CPU", "UPTIME", "REASON"});
  CHECK(lines.size() == 3);  // the title, one container, the end of the last line
  CHECK(lines[1].starts_with("box   running  "));
  CHECK(installation.holm_ok({"list", "-a", "-H", "-o", "name,state"}) == "box   running\nidle  stopped\n");
  CHECK(installation.holm_ok({"ls", "--all", "--no-header", "--columns", "state,name"}) ==
        "running  box\nstopped  idle\n");
  CHECK(installation.holm_ok({"list", "-o", "name"}) == "NAME\nbox\n");
  for (const char* column : {"name", "state", "number", "pid", "address", "memory", "cpu", "pids", "uptime",
                             "restarts", "reason"}) {
    CAPTURE(column);
    CHECK(split(installation.holm_ok({"list", "-a", "-H", "-o", column}), '\n').size() == 3);
  }
  CHECK(parse_unsigned(installation.column("box", "number")).value_or(0) > 0);
  CHECK(installation.column("box", "pids") == "1");
  CHECK(installation.column("box", "restarts") == "0");
  CHECK(installation.column("box", "cpu").ends_with("s"));

  Result wrong = installation.holm({"list", "-o", "name,staet"});
  CHECK(wrong.status == 2);
  CHECK(wrong.errors == "holm: there is no column 'staet'\n  hint: did you mean 'state'?\n");
  wrong = installation.holm({"list", "-o", "qqqqqqq"});
  CHECK(wrong.errors.find("hint: there are: name, state, number, pid") != std::string::npos);
}

TEST_CASE("list as JSON has what the columns have, with types") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  CHECK(json_of(installation, {"list", "-a"}) == json::array());
  CHECK(installation.holm_ok({"list", "-H"}).empty());
  installation.start("box", kSleeper);
  installation.holm_ok({"create", installation.write_config("idle", kSleeper)});
  CHECK(json_of(installation, {"list"}).size() == 1);
  const json all = json_of(installation, {"list", "-a"});
  REQUIRE(all.size() == 2);
  const json& box = all[0];
  CHECK(box.at("name") == "box");
  CHECK(box.at("state") == "running");
  CHECK(box.at("pid") == installation.pid_of("box"));
  CHECK(box.at("monitor_pid").get<pid_t>() > 1);
  CHECK(box.at("memory_bytes").get<uint64_t>() > 0);
  CHECK(box.at("pids") == 1);
  CHECK(box.at("restarts") == 0);
  CHECK(std::abs(box.at("started_at").get<int64_t>() - std::time(nullptr)) < 60);
  CHECK(all[1].at("state") == "stopped");
  CHECK(all[1].at("pid").is_null());
  // After the verb, too.
  CHECK(json::parse(installation.holm_ok({"list", "--json"})).size() == 1);
}

TEST_CASE("exec runs a program inside with user, directory, environment and streams") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", std::string("env = { INSIDE = \"yes\" }\n") + kSleeper);
  const auto exec = [&](std::vector<std::string> words, const std::string& input = "") {
    words.insert(words.begin(), "exec");
    return installation.holm(words, {}, input);
  };
  CHECK(exec({"box", "id", "-u"}).out == "0\n");
  CHECK(exec({"-u", "www-data", "box", "id"}).out ==
        "uid=33(www-data) gid=33(www-data) groups=33(www-data)\n");
  CHECK(exec({"-u", "33:100", "box", "id", "-g"}).out == "100\n");
  CHECK(exec({"--user", "1234", "box", "id", "-u"}).out == "1234\n");
  CHECK(exec({"-u", "daemon:users", "box", "id", "-gn"}).out == "users\n");
  CHECK(exec({"box", "pwd"}).out == "/\n");
  CHECK(exec({"-w", "/var/log", "box", "pwd"}).out == "/var/log\n");
  CHECK(exec({"--workdir=/tmp", "box", "pwd"}).out == "/tmp\n");
  CHECK(exec({"-e", "A=1", "--env", "B=x=y", "box", "sh", "-c", "echo $A $B"}).out == "1 x=y\n");
  CHECK(exec({"box", "cat"}, "typed\n").out == "typed\n");
  CHECK(exec({"box", "sh", "-c", "echo out; echo err >&2"}).out == "out\n");
  CHECK(exec({"box", "sh", "-c", "echo out; echo err >&2"}).errors == "err\n");
  // Options after the name are the payload's, and so is everything behind "--".
  CHECK(exec({"box", "echo", "-u", "--json", "-e"}).out == "-u --json -e\n");
  CHECK(exec({"box", "--", "echo", "--", "-w"}).out == "-- -w\n");
  CHECK(exec({"box", "tty"}).out == "not a tty\n");

  const std::string environment = exec({"-u", "www-data", "box", "env"}).out;
  CHECK(environment.find("HOME=/var/www\n") != std::string::npos);
  CHECK(environment.find("USER=www-data\n") != std::string::npos);
  CHECK(environment.find("container=holm\n") != std::string::npos);
  CHECK(environment.find("HOLM_") == std::string::npos);
}

TEST_CASE("exec passes the exit status on and tells its own failures apart") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kSleeper);
  const auto exec = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "exec");
    return installation.holm(words);
  };
  CHECK(exec({"box", "true"}).status == 0);
  CHECK(exec({"box", "false"}).status == 1);
  CHECK(exec({"box", "sh", "-c", "exit 77"}).status == 77);
  CHECK(exec({"box", "sh", "-c", "kill -9 $$"}).status == 137);
  CHECK(exec({"box", "sh", "-c", "kill -TERM $$"}).status == 143);
  CHECK(exec({"box", "sh", "-c", "kill -SEGV $$"}).status == 139);
  CHECK(exec({"box", "no-such-program"}).status == 127);
  CHECK(exec({"box", "/etc/passwd"}).status == 126);
  CHECK(exec({"box", "/etc"}).status == 126);
  CHECK(exec({"-u", "nobody-of-that-name", "box", "true"}).status == 125);
  CHECK(exec({"-w", "/no/such/directory", "box", "true"}).status == 125);
  CHECK(exec({"no-such-container", "true"}).status == 125);
  CHECK(exec({"box"}).status == 2);
  CHECK(exec({"-e", "novalue", "box", "true"}).status == 2);
  CHECK(exec({"-e", "=x", "box", "true"}).status == 2);
}

TEST_CASE("a signal to exec reaches the program that it runs") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kSleeper);
  const pid_t exec =
      installation.holm_background({"exec", "box", "sh", "-c", "touch /tmp/up; exec sleep 100"});
  CHECK(eventually([&] { return installation.holm({"exec", "box", "test", "-e", "/tmp/up"}).status == 0; }));
  std::this_thread::sleep_for(50ms);
  ::kill(exec, SIGTERM);
  CHECK(wait_status(exec) == 143);
  CHECK(eventually([&] { return installation.column("box", "pids") == "1"; }));
}

TEST_CASE("shell runs a login shell in the container") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kSleeper);
  Result result = installation.holm({"shell", "box"}, {}, "cd /tmp\npwd; hostname; echo $0\nexit 4\n");
  CHECK(result.status == 4);
  CHECK(result.out == "/tmp\nbox\n/bin/sh\n");
  result = installation.holm({"shell", "-u", "root", "-w", "/var", "-e", "X=5", "box"}, {}, "pwd; echo $X\n");
  CHECK(result.out == "/var\n5\n");
  CHECK(result.status == 0);
}

TEST_CASE("run passes streams and exit status on and removes with --rm") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string config = installation.write_config("job", shell("cat; exit 5"));
  Result result = installation.holm({"run", config}, {}, "through\n");
  CHECK(result.status == 5);
  CHECK(result.out == "through\n");
  CHECK(installation.column("job", "state") == "stopped");
  CHECK(installation.column("job", "reason") == "exited with status 5");
  CHECK(installation.holm({"wait", "job"}).status == 5);

  // By name, with another command, with and without "--".
  CHECK(installation.holm({"run", "job", "echo", "-n", "words"}).out == "words");
  CHECK(installation.holm({"run", "job", "--", "echo", "--rm"}).out == "--rm\n");
  CHECK(installation.holm({"run", config, "--", "sh", "-c", "kill -9 $$; exit 9"}).status ==
        9);  // init is immune
  CHECK(installation.holm({"run", "job", "no-such-program"}).status == 127);
  CHECK(installation.holm({"run", "job", "/etc/passwd"}).status == 126);
  CHECK(installation.holm({"run", "--rm", "job", "true"}).status == 0);
  CHECK(installation.column("job", "state").empty());

  CHECK(installation.holm({"run", "--rm", config, "--", "no-such-program"}).status == 127);
  CHECK(installation.column("job", "state").empty());
  CHECK(installation.holm({"run", "nobody-has-this-name"}).status == 125);
  const std::string broken = installation.write_config("broken", "user = \"nosuchuser\"\n" + shell("true"));
  CHECK(installation.holm({"run", "--rm", broken}).status == 125);
  CHECK(installation.column("broken", "state").empty());
}

TEST_CASE("run gives 128 + signal where a signal ended the payload") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string config = installation.write_config("job", kSleeper);
  const pid_t run = installation.holm_background({"run", config});
  CHECK(eventually([&] { return installation.column("job", "state") == "running"; }));
  installation.holm_ok({"kill", "job"});
  CHECK(wait_status(run) == 137);
  CHECK(installation.column("job", "reason") == "killed by signal 9 (KILL)");
}

TEST_CASE("a run that is interrupted stops the container") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string config = installation.write_config(
      "job", shell("trap 'exit 6' TERM; touch /tmp/up; while :; do sleep 0.05; done"));
  const pid_t run = installation.holm_background({"run", "--rm", config});
  CHECK(eventually([&] { return installation.holm({"exec", "job", "test", "-e", "/tmp/up"}).status == 0; }));
  ::kill(run, SIGINT);
  CHECK(wait_status(run) == 6);
  CHECK(eventually([&] { return installation.column("job", "state").empty(); }));
}

TEST_CASE("wait gives the exit status, or 125 when its time is over") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", shell("trap 'exit 3' USR1; touch /tmp/up; while :; do sleep 0.05; done"));
  const auto start = std::chrono::steady_clock::now();
  Result result = installation.holm({"wait", "-t", "300ms", "box"});
  CHECK(result.status == 125);
  CHECK(result.errors == "holm: container 'box' has not stopped within 300ms\n");
  CHECK(std::chrono::steady_clock::now() - start > 290ms);
  const pid_t waiting = installation.holm_background({"wait", "box"});
  CHECK(eventually([&] { return installation.holm({"exec", "box", "test", "-e", "/tmp/up"}).status == 0; }));
  installation.holm_ok({"kill", "-s", "USR1", "box"});
  CHECK(wait_status(waiting) == 3);
  CHECK(installation.holm({"wait", "--timeout", "5", "box"}).status == 3);
  result = installation.holm({"wait", "-t", "soon", "box"});
  CHECK(result.status == 2);
  CHECK(result.errors == "holm: 'soon' of '--timeout' is no time\n  hint: for example 10, 500ms, 2m\n");
}

TEST_CASE("kill sends the signal that was named, by default KILL") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string script = shell(
      "trap 'exit 11' HUP; trap 'exit 12' USR2; trap 'exit 15' TERM; touch /tmp/up; while :; do sleep 0.02; "
      "done");
  const std::string config = installation.write_config("box", script);
  const auto ends_with = [&](const std::vector<std::string>& words, int status) {
    CAPTURE(join(words, " "));
    installation.holm_ok({"start", config});
    CHECK(eventually([&] {
      return installation.holm({"exec", "box", "test", "-e", "/tmp/up"}).status == 0;
    }));
    installation.holm({"exec", "box", "rm", "/tmp/up"});
    installation.holm_ok(words);
    CHECK(installation.holm({"wait", "-t", std::to_string(5 * patience()), "box"}).status == status);
  };
  ends_with({"kill", "-s", "HUP", "box"}, 11);
  ends_with({"kill", "--signal", "SIGUSR2", "box"}, 12);
  ends_with({"kill", "-s", "15", "box"}, 15);
  ends_with({"kill", "box"}, 137);
  CHECK(installation.column("box", "reason") == "killed by signal 9 (KILL)");
  for (const char* wrong : {"NOSUCH", "0", "99", "-1", "SIG", "TERM "}) {
    CAPTURE(wrong);
    const Result result = installation.holm({"kill", "-s", wrong, "box"});
    CHECK(result.status == 2);
    CHECK(result.errors ==
          std::string("holm: there is no signal '") + wrong + "'\n  hint: for example TERM, KILL, HUP, 9\n");
  }
}

TEST_CASE("stop asks, waits and then kills; it says when there is nothing to stop") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("polite", shell("trap 'exit 0' TERM; while :; do sleep 0.02; done"));
  const std::string stubborn = shell("trap '' TERM; while :; do sleep 0.02; done");
  installation.start("stubborn", stubborn);
  installation.start("other", stubborn);
  installation.holm_ok({"stop", "polite"});
  CHECK(installation.column("polite", "reason") == "exited with status 0");
  auto start = std::chrono::steady_clock::now();
  installation.holm_ok({"stop", "-t", "400ms", "stubborn"});
  const auto took = std::chrono::steady_clock::now() - start;
  CHECK(installation.column("stubborn", "state") == "stopped");
  CHECK(took < 2400ms * patience());
  start = std::chrono::steady_clock::now();
  installation.holm_ok({"stop", "--kill", "other"});
  CHECK(std::chrono::steady_clock::now() - start < 1s * patience());
  CHECK(installation.column("other", "reason") == "stopped: killed by signal 9 (KILL)");
  const Result result = installation.holm({"stop", "polite", "stubborn"});
  CHECK(result.status == 1);
  CHECK(result.errors ==
        "holm: container 'polite' is not running\n  hint: 'holm list -a' shows all containers\n"
        "holm: container 'stubborn' is not running\n  hint: 'holm list -a' shows all containers\n");
}

TEST_CASE("reboot starts the container anew and keeps its files and address") {
  HOLM_REQUIRES("root, nat", have_nat());
  Installation installation;
  installation.start("box", std::string(kSleeper) + "[[network]]\nmode = \"nat\"\n");
  installation.holm_ok({"exec", "box", "sh", "-c", "echo kept > /root/file"});
  const pid_t before = installation.pid_of("box");
  const std::string address = installation.column("box", "address");
  CHECK(address.starts_with("10."));
  installation.holm_ok({"reboot", "box"});
  CHECK(installation.column("box", "state") == "running");
  CHECK(installation.pid_of("box") != before);
  CHECK(installation.column("box", "address") == address);
  CHECK(installation.holm({"exec", "box", "cat", "/root/file"}).out == "kept\n");
  installation.holm_ok({"reboot", "--timeout", "1", "box"});
  CHECK(installation.column("box", "restarts") == "2");
  installation.holm_ok({"stop", "-k", "box"});
  CHECK(installation.holm({"reboot", "box"}).errors.starts_with("holm: container 'box' is not running\n"));
}

TEST_CASE("log shows what was said, its last lines, and what comes") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start(
      "box", shell("for i in 1 2 3 4 5; do echo line $i; done; read x < /root/go; echo more; exit 0"));
  CHECK(eventually([&] {
    return installation.holm({"log", "box"}).out.find("line 5") != std::string::npos;
  }));
  const auto log = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "log");
    std::string text = installation.holm_ok(words);
    std::erase(text, '\r');
    return text;
  };
  // The shell has ended already, as there is no /root/go; its last words are in the log.
  CHECK(eventually([&] { return installation.column("box", "state") == "stopped"; }));
  CHECK(log({"-n", "2", "box"}).ends_with("more\n"));
  CHECK(split(log({"--lines", "2", "box"}), '\n').size() == 3);
  CHECK(log({"box"}).starts_with("line 1\nline 2\nline 3\nline 4\nline 5\n"));
  CHECK(log({"-f", "box"}) == log({"box"}));
  CHECK(log({"--monitor", "box"}).find("exited with status 0") != std::string::npos);

  installation.start("ticker", shell("echo begin; sleep 0.5; echo middle; sleep 0.5; echo end"));
  const std::string followed = log({"--follow", "ticker"});
  CHECK(followed == "begin\nmiddle\nend\n");
  CHECK(installation.column("ticker", "state") == "stopped");
}

TEST_CASE("rename moves a stopped container with its files, number, addresses and template") {
  HOLM_REQUIRES("root, nat", have_nat());
  Installation installation;
  installation.start("before",
                     std::string("name = \"before\"\n") + kSleeper + "[[network]]\nmode = \"nat\"\n");
  installation.holm_ok({"exec", "before", "touch", "/root/mine"});
  const std::string address = installation.column("before", "address");
  const std::string number = installation.column("before", "number");
  Result result = installation.holm({"rename", "before", "after"});
  CHECK(result.status == 1);
  CHECK(result.errors == "holm: cannot rename container 'before': it is running\n  hint: stop it first\n");
  CHECK(installation.column("after", "state").empty());
  installation.holm_ok({"stop", "-k", "before"});
  installation.holm_ok({"create", installation.write_config("taken", kSleeper)});
  CHECK(installation.holm({"rename", "before", "taken"}).errors ==
        "holm: there is a container 'taken' already\n");
  CHECK(installation.holm({"rename", "before", "not a name"}).status == 2);
  CHECK(installation.holm({"rename", "before", "before"}).errors ==
        "holm: container 'before' has that name already\n");
  CHECK(installation.holm({"rename", "nothing", "after"}).status == 1);
  installation.holm_ok({"rename", "before", "after"});

  CHECK(installation.column("before", "state").empty());
  CHECK(installation.column("after", "state") == "stopped");
  installation.holm_ok({"start", "after"});
  CHECK(installation.column("after", "address") == address);
  CHECK(installation.column("after", "number") == number);
  CHECK(installation.holm({"exec", "after", "ls", "/root"}).out == "mine\n");
  CHECK(json_of(installation, {"template", "inspect", "busybox"}).at("used_by") == json({"after", "taken"}));
  // The old name is free.
  installation.start("before", kSleeper);
  CHECK(installation.column("before", "number") != number);
  CHECK(list_directory(installation.run_directory()) == std::vector<std::string>{"after", "before", "taken"});
}

TEST_CASE("inspect tells the spec, the ids and the limits that the kernel has") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box",
                     std::string("user = \"daemon\"\n") + kSleeper +
                         "[memory]\nlimit = \"64M\"\n[pids]\nlimit = 20\n[cpu]\nweight = 512\ncap = 50\n");
  const json box = json_of(installation, {"inspect", "box"});
  CHECK(box.at("name") == "box");
  CHECK(box.at("state") == "running");
  CHECK(box.at("number").get<int>() > 0);
  CHECK(box.at("ids").at("count") == 65536);
  CHECK(box.at("ids").at("first").get<uint64_t>() % 65536 == 0);
  CHECK(box.at("directory") == installation.state_directory() + "/containers/box");
  const json& limits = box.at("limits_in_kernel");
  CHECK(limits.at("memory").at("limit") == 64 << 20);
  CHECK(limits.at("pids").at("limit") == 20);
  CHECK(limits.at("cpu").at("weight") == 512);
  CHECK(limits.at("cpu").at("cap_percent") == 50);
  CHECK(box.at("cgroups").size() >= 1);
  CHECK(box.at("spec").at("payload").at("user") == "daemon");
  CHECK(box.at("spec").at("memory").at("limit") == 64 << 20);

  installation.holm_ok({"create", installation.write_config("idle", kSleeper)});
  const json both = json_of(installation, {"inspect", "box", "idle"});
  REQUIRE(both.size() == 2);
  CHECK(both[1].at("state") == "stopped");
  CHECK_FALSE(both[1].contains("limits_in_kernel"));
  const std::string text = installation.holm_ok({"inspect", "box"});
  CHECK(text.find("\nstate              running\n") != std::string::npos);
  CHECK(text.find("\n# Configuration\n") != std::string::npos);
  CHECK(text.find("weight = 512") != std::string::npos);
  const Result one_missing = installation.holm({"inspect", "box", "bix"});
  CHECK(one_missing.status == 1);
  CHECK(one_missing.out.find("running") != std::string::npos);
  CHECK(one_missing.errors == "holm: there is no container 'bix'\n  hint: did you mean 'box'?\n");
}

TEST_CASE("ps lists the processes with their pids on both sides") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", shell("sleep 1000 & su -s /bin/sh www-data -c 'exec sleep 2000' & wait"));
  CHECK(eventually([&] {
    const json processes = json_of(installation, {"ps", "box"});
    // All three, and the one that is looked at below at rest.
    return processes.size() >= 3 && std::ranges::any_of(processes, [](const json& process) {
             return process.at("command") == "sleep 1000" && process.at("state") == "S";
           });
  }));
  bool found_init = false, found_sleep = false;
  for (const json& process : json_of(installation, {"ps", "box"})) {
    if (process.at("container_pid") == 1) {
      found_init = true;
      CHECK(process.at("pid") == installation.pid_of("box"));
      CHECK(process.at("uid") == 0);
    }
    if (process.at("command") == "sleep 1000") {
      found_sleep = true;
      CHECK(process.at("container_pid").get<int>() > 1);
      CHECK(process.at("state") == "S");
      CHECK(process.at("memory_bytes").get<uint64_t>() > 0);
    }
  }
  CHECK(found_init);
  CHECK(found_sleep);
  const std::string table = installation.holm_ok({"ps", "box"});
  CHECK(split_words(split(table, '\n')[0]) ==
        std::vector<std::string>{"PID", "INSIDE", "UID", "STATE", "MEMORY", "CPU", "COMMAND"});
  installation.holm_ok({"stop", "-k", "box"});
  CHECK(installation.holm({"ps", "box"}).errors ==
        "holm: container 'box' is not running\n  hint: 'holm start box' starts it\n");
}

TEST_CASE("pause freezes every process, resume lets them go on") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", shell("while :; do echo x >> /root/ticks; sleep 0.02; done"));
  const std::string ticks = installation.state_directory() + "/containers/box/upper/root/ticks";
  const auto count = [&] { return read_file_if_exists(ticks).value_or("").size(); };
  CHECK(eventually([&] { return count() > 4; }));
  installation.holm_ok({"pause", "box"});
  CHECK(installation.column("box", "state") == "paused");
  CHECK(json_of(installation, {"list"})[0].at("state") == "paused");
  const size_t frozen = count();
  std::this_thread::sleep_for(200ms);
  CHECK(count() == frozen);
  CHECK(installation.holm({"pause", "box"}).errors == "holm: container 'box' is paused already\n");
  const Result exec = installation.holm({"exec", "box", "true"});
  CHECK(exec.status == 125);
  CHECK(exec.errors == "holm: container 'box' is paused\n  hint: 'holm resume box' first\n");
  installation.holm_ok({"resume", "box"});
  CHECK(installation.column("box", "state") == "running");
  CHECK(eventually([&] { return count() > frozen; }));
  CHECK(installation.holm({"resume", "box"}).errors == "holm: container 'box' is not paused\n");
}

TEST_CASE("config check and show tell what a file means") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string file =
      installation.write_config("box", std::string(kSleeper) + "[memory]\nlimit = \"64M\"\n");
  CHECK(installation.holm_ok({"config", "check", file}) == file + ": container 'box' is well configured\n");
  CHECK(json_of(installation, {"config", "check", file}).at("memory").at("limit") == 64 << 20);
  CHECK(list_directory(installation.state_directory() + "/containers").empty());
  CHECK(installation.holm_ok({"config", "show", file}).find("limit = \"64M\"") != std::string::npos);
  const std::string defaults = installation.holm_ok({"config", "show", "--defaults"});
  for (const char* key :
       {"template = ", "on_crash = ", "weight = 256", "[[network]]", "user_namespace = true"}) {
    CAPTURE(key);
    CHECK(defaults.find(key) != std::string::npos);
  }
  // What it prints is itself a good config.
  CHECK(installation.holm({"config", "check", installation.write_config("defaults", defaults)}).status == 0);
  installation.holm_ok({"create", file});
  CHECK(installation.holm_ok({"config", "show", "box"}) == installation.holm_ok({"config", "show", file}));
  CHECK(json_of(installation, {"config", "show", "box"}).at("name") == "box");
  CHECK(installation.holm({"config", "show"}).status == 2);
  CHECK(installation.holm({"config", "show", "nothing"}).status == 1);
  CHECK(installation.holm({"config"}).status == 2);
}

TEST_CASE("info, check, version and gc answer, as JSON too") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kSleeper);
  const json info = json_of(installation, {"info"});
  CHECK(info.at("containers") == 1);
  CHECK(info.at("running") == 1);
  CHECK(info.at("templates") == 1);
  CHECK(info.at("state_directory") == installation.state_directory());
  CHECK(installation.holm_ok({"info"}).find("\nkernel ") != std::string::npos);
  const json check = json_of(installation, {"check"});
  REQUIRE(check.size() > 5);
  for (const json& finding : check) {
    CHECK_FALSE(finding.at("what").get<std::string>().empty());
    const std::string verdict = finding.at("verdict");
    CHECK_MESSAGE((verdict == "ok" || verdict == "limited"), finding.dump());
  }
  CHECK(installation.holm_ok({"check"}).find("ok       namespaces\n") != std::string::npos);
  CHECK(json_of(installation, {"version"}).at("version") == info.at("version"));
  CHECK(installation.holm_ok({"version"}) == "holm " + info.at("version").get<std::string>() + "\n");
  CHECK(installation.holm_ok({"--version"}) == installation.holm_ok({"version"}));
  const std::string unfinished = installation.state_directory() + "/containers/box/config.toml.4194304.new";
  replace_file(unfinished, "");  // of a killed writer: no process has this pid
  CHECK(installation.holm_ok({"gc"}).empty());
  CHECK(read_file_if_exists(unfinished) == std::nullopt);
  CHECK(json_of(installation, {"gc"}) == json({{"removed", json::array()}, {"problems", json::array()}}));
  CHECK(installation.column("box", "state") == "running");
}

TEST_CASE("an option with an empty value is refused, never taken for one that is not given") {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"usage", "--since", ""},
                                                {"usage", "--by", ""},
                                                {"usage", "--until", ""},
                                                {"account", "sample", "--every", ""},
                                                {"counters", "--since", ""},
                                                {"metrics", "--textfile", ""},
                                                {"sched-credit", "-d", ""},
                                                {"sched-credit", "-d", "web", "-w", ""},
                                                {"stop", "-t", "", "web"}}) {
    const Result refused = Installation().holm(words);
    CHECK(refused.status == 2);
    CHECK_MESSAGE(refused.errors.find("' has no value") != std::string::npos, refused.errors);
  }
}

TEST_CASE("create makes without starting; several names are each tried") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string a = installation.write_config("a", kSleeper),
                    b = installation.write_config("b", kSleeper);
  installation.holm_ok({"create", a, b});
  CHECK(installation.holm_ok({"list", "-a", "-H", "-o", "name,state"}) == "a     stopped\nb     stopped\n");
  const Result start = installation.holm({"start", "a", "c", "b"});
  CHECK(start.status == 1);
  CHECK(start.errors.starts_with("holm: there is no container 'c'\n"));
  CHECK(installation.holm_ok({"list", "-H", "-o", "name"}) == "a\nb\n");
  const Result create = installation.holm({"create", "a"});
  CHECK(create.status == 2);
  CHECK(create.errors == "holm: 'a' is no config file\n  hint: a config file's name ends in .toml\n");
  installation.holm_ok({"destroy", "-f", "a", "b"});
  CHECK(installation.holm_ok({"list", "-a", "-H"}).empty());
}

TEST_CASE("a changed file changes a stopped container, and is refused for a running one") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", "hostname = \"first\"\n" + std::string(kSleeper));
  const std::string file =
      installation.write_config("box", "hostname = \"second\"\n" + std::string(kSleeper));
  const Result refused = installation.holm({"start", file});
  CHECK(refused.status == 1);
  CHECK(refused.errors.find("container 'box' runs with another configuration") != std::string::npos);
  CHECK(installation.holm({"exec", "box", "hostname"}).out == "first\n");
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"start", file});
  CHECK(installation.holm({"exec", "box", "hostname"}).out == "second\n");
}

TEST_CASE("the trees can be named by options") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const TemporaryDirectory other;
  const std::vector<std::string> trees = {"--state-dir", other.path() + "/state", "--run-dir",
                                          other.path() + "/run"};
  const auto holm = [&](std::vector<std::string> words) {
    words.insert(words.begin(), trees.begin(), trees.end());
    return installation.holm(words);
  };
  CHECK(holm({"template", "build", "busybox"}).status == 0);
  CHECK(holm({"start", installation.write_config("box", kSleeper)}).status == 0);
  CHECK(holm({"list", "-H", "-o", "name,state"}).out == "box   running\n");
  CHECK(installation.column("box", "state").empty());
  CHECK(holm({"destroy", "--force", "box"}).status == 0);
  CHECK(holm({"gc"}).status == 0);
  CHECK(list_directory(other.path() + "/run").empty());
}

TEST_CASE("every verb explains itself, and what is no verb is met with a suggestion") {
  const std::string program = holm_program();
  const std::string help = run_host({program, "--help"}).out;
  for (const char* verb :
       {"create",  "start",  "run",      "stop",   "reboot", "kill",    "pause", "resume",
        "destroy", "rename", "wait",     "exec",   "shell",  "console", "list",  "inspect",
        "ps",      "log",    "template", "config", "info",   "check",   "gc",    "version"}) {
    CAPTURE(verb);
    CHECK(help.find("\n  " + std::string(verb)) != std::string::npos);
    const Result result = run_host({program, verb, "--help"});
    CHECK(result.status == 0);
    CHECK(result.out.find("Usage: ") != std::string::npos);
    CHECK(result.errors.empty());
  }
  CHECK(run_host({program, "list", "--help"}).out.find("restarts   restarts since a person started it") !=
        std::string::npos);
  Result result = run_host({program});
  CHECK(result.status == 2);
  CHECK(result.errors == "holm: say what to do\n  hint: 'holm --help' lists the verbs and options\n");
  result = run_host({program, "strat"});
  CHECK(result.status == 2);
  CHECK(result.errors == "holm: there is no verb 'strat'\n  hint: did you mean 'holm start'?\n");
  result = run_host({program, "list", "--nonsense"});
  CHECK(result.status == 2);
  CHECK(result.errors.find("hint: 'holm list --help' tells what it takes") != std::string::npos);
  CHECK(run_host({program, "destroy"}).status == 2);
  result = run_host({program, "stop", "a", "--", "b"});
  CHECK(result.status == 2);
  CHECK(result.errors.starts_with("holm: 'holm stop' runs nothing: '--' has no meaning there"));
}
