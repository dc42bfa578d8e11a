// Whole systems that are saved and go on: a Debian under systemd with somebody logged in over ssh, cron, and
// a database with a transaction in progress.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"
#include "tests/support/criu.h"
#include "tests/support/debian.h"
#include "tests/support/pty_program.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

constexpr const char* kSystem =
    "template = \"services\"\ninit = \"/sbin/init\"\n[memory]\nlimit = \"512M\"\n"
    "[[network]]\nmode = \"nat\"\n";

std::string system_state(const Installation& installation, const std::string& name) {
  return std::string(trim(installation.holm({"exec", name, "systemctl", "is-system-running"}).out));
}

void boot(const Installation& installation) {
  installation.start("whole", kSystem);
  const bool is_booted = eventually(
      [&] {
        const std::string state = system_state(installation, "whole");
        return state == "running" || state == "degraded";
      },
      20s);
  REQUIRE_MESSAGE(is_booted, installation.holm({"log", "whole"}).out);
  CHECK(system_state(installation, "whole") == "running");
}

// Each with its state, its first process, and how often it was started again; who is logged in, and where.
std::string services(const Installation& installation, const std::string& name) {
  return answer(installation, name,
                "systemctl show -p Id,ActiveState,MainPID,NRestarts ssh cron redis-server dbus counting "
                "systemd-logind systemd-journald console-getty; systemctl --failed --plain --no-legend; "
                "loginctl --no-legend list-sessions; ps -o tty= -C bash");
}

// A key that opens root's account there.
std::string make_key(const Installation& installation) {
  const std::string key = installation.directory() + "/key";
  const Result made = run_host({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key});
  REQUIRE_MESSAGE(made.status == 0, made.errors);
  inside(installation, "whole",
         fmt::format("umask 077; mkdir -p /root/.ssh; echo '{}' > /root/.ssh/authorized_keys",
                     trim(read_file(key + ".pub"))));
  return key;
}

std::vector<std::string> ssh(const std::string& key, const std::string& address) {
  return {"ssh",
          "-tt",
          "-F",
          "none",
          "-i",
          key,
          "-o",
          "IdentitiesOnly=yes",
          "-o",
          "StrictHostKeyChecking=no",
          "-o",
          "UserKnownHostsFile=/dev/null",
          "-o",
          "LogLevel=ERROR",
          "root@" + address};
}

// Somebody who has logged in; the shell keeps a number and a job.
class Session {
 public:
  Session(const Installation& installation, const std::string& key)
      : installation_(installation),
        terminal_(ssh(key, addresses_of(installation, "whole")[0]), {{"TERM", "xterm"}}) {
    CHECK(terminal_.shows("root@whole:~#", 20s));
    terminal_.type("sleep 12345 & number=0; echo $$ > /root/shell\n");
    const auto shell = [&] { return answer(installation, "whole", "cat /root/shell 2>/dev/null"); };
    CHECK(eventually([&] { return !(pid_ = shell()).empty(); }));
  }
  // What is typed is executed once, by the same shell.
  void type_command() { terminal_.type("number=$((number + 1)); echo it is $number of $$.\n"); }
  void sees_answer() {
    ++number_;
    const bool is_seen = terminal_.shows(fmt::format("it is {} of {}.", number_, pid_), 30s);
    CHECK_MESSAGE(is_seen, terminal_.screen());
    terminal_.forget();
  }
  void log_out() {
    terminal_.type("fg\n");
    CHECK(terminal_.shows("sleep 12345"));  // which the shell says before it gives the terminal away
    const auto is_away = [&] {
      const auto groups = split_words(answer(installation_, "whole", "ps -o pgid=,tpgid= -p " + pid_));
      return groups.size() == 2 && groups[0] != groups[1];
    };
    CHECK(eventually(is_away));
    terminal_.type("\x03");
    terminal_.type("echo it ended with $?.; exit 7\n");
    CHECK(terminal_.shows("it ended with 130."));
    CHECK(terminal_.wait() == 7);
  }

 private:
  const Installation& installation_;
  PtyProgram terminal_;
  std::string pid_;
  int number_ = 0;
};

// Data, a service that counts, and a client outside.
void fill_database(const Installation& installation) {
  const std::string script =
      "set -e; redis-cli config set protected-mode no; redis-cli config set bind 0.0.0.0; redis-cli set "
      "rounds 0; "
      "redis-cli eval \"for i = 1, 20000 do redis.call('set', 'key' .. i, i * i) end\" 0; "
      "systemd-run --quiet --unit=counting sh -c "
      "'while :; do redis-cli incr count >> /root/count; sleep 0.05; done'";
  const Result filled = inside(installation, "whole", script);
  CHECK_MESSAGE(filled.status == 0, filled.errors);
}

std::string database(const Installation& installation, const std::string& name) {
  return answer(installation, name,
                "redis-cli dbsize; redis-cli get key12345; redis-cli info server | grep run_id");
}

// Of the image and its configuration: what makes it possible to save a system leaves nothing there.
std::string changed_programs(const Installation& installation) {
  return run_host({"sh", "-c",
                   "cd " + upper_of(installation, "whole") +
                       "; find usr etc/systemd ! -type d 2>/dev/null; "
                       "find . -path '*systemd*' -name '*.conf' -o -name '*holm*' -o -path './run/*'"})
      .out;
}

void check_inspection(const Installation& installation) {
  const json manifest =
      json::parse(installation.holm_ok({"--json", "checkpoint", "inspect", "whole", "suspended"}));
  std::string commands;
  for (const json& process : manifest["processes"]) commands += process["command"].get<std::string>() + "\n";
  for (const char* program :
       {"/sbin/init\n", "/usr/sbin/cron -f\n", "sshd: root@pts/0\n", "-bash\n", "sleep 12345\n",
        "/usr/bin/redis-server 0.0.0.0:6379\n", "systemd-journald\n", "systemd-logind\n", "agetty"})
    CHECK_MESSAGE(commands.find(program) != std::string::npos, program, " is not among:\n", commands);
}

}  // namespace

TEST_CASE("a whole Debian goes on with its services, logins, connections and transactions, three times") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  HOLM_REQUIRES("mmdebstrap and an apt source", have_debian(kServices));
  const Installation installation;
  add_debian(installation, kServices);
  boot(installation);
  const std::string key = make_key(installation);
  inside(installation, "whole", "echo '* * * * * root date >> /root/minutes' > /etc/cron.d/minutes");
  fill_database(installation);
  Session session(installation, key);
  Connection client(addresses_of(installation, "whole")[0], 6379);
  CHECK(counts_beyond(installation, "whole", 3));
  const std::string before = services(installation, "whole"), data = database(installation, "whole");
  CHECK(before.find("ActiveState=inactive") == std::string::npos);
  CHECK_MESSAGE(before.find(" 0 root ") != std::string::npos, before);
  CHECK(before.ends_with("pts/0"));
  CHECK(data.starts_with("20002\n152399025\n"));

  for (int generation = 1; generation <= 3; ++generation) {
    CAPTURE(generation);
    client.send("MULTI\r\nINCR rounds\r\n");
    CHECK(client.receives("+OK\r\n+QUEUED\r\n"));
    CHECK(installation.holm({"check", "whole"}).out == "ok       container 'whole' can be saved\n");
    installation.holm_ok({"stop", "--checkpoint", "whole"});
    REQUIRE(installation.column("whole", "state") == "suspended");
    check_inspection(installation);
    session.type_command();
    client.send("EXEC\r\n");
    installation.holm_ok({"start", "whole"});
    session.sees_answer();
    CHECK(client.receives(fmt::format("*1\r\n:{}\r\n", generation)));
    CHECK(services(installation, "whole") == before);
    CHECK(system_state(installation, "whole") == "running");
    CHECK(database(installation, "whole") == data);
    CHECK(counts_beyond(installation, "whole", counted(installation, "whole")));
  }
  CHECK(changed_programs(installation) == "");

  // It works as it did: services start and stop, others log in, cron comes every minute.
  const auto minutes = [&] { return answer(installation, "whole", "cat /root/minutes 2>/dev/null | wc -l"); };
  const std::string so_far = minutes();
  CHECK(inside(installation, "whole", "systemctl restart dbus systemd-logind").status == 0);
  CHECK(inside(installation, "whole", "systemd-run --wait --quiet /bin/true").status == 0);
  CHECK(answer(installation, "whole", "journalctl --no-pager -n 1 -u counting -o cat; echo read") != "");
  std::vector<std::string> another = ssh(key, addresses_of(installation, "whole")[0]);
  another.push_back("echo hello from $(hostname)");
  CHECK(run_host(another).out == "hello from whole\r\n");
  session.log_out();
  CHECK(eventually([&] { return minutes() != so_far; }, 65s));
  CHECK(installation.holm({"stop", "--timeout", std::to_string(15 * patience()), "whole"}).status == 0);
  CHECK(installation.column("whole", "reason") == "powered off");
}

TEST_CASE("a running Debian is saved to a file, and comes back from it as another system beside it") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  HOLM_REQUIRES("mmdebstrap and an apt source", have_debian(kServices));
  const Installation installation;
  const std::string file = installation.directory() + "/whole.holm";
  add_debian(installation, kServices);
  boot(installation);
  fill_database(installation);
  const std::string before = services(installation, "whole"), data = database(installation, "whole");
  installation.holm_ok({"save", "--leave-running", "whole", file});
  installation.holm_ok({"restore", file, "--name", "second"});
  for (const std::string name : {"whole", "second"}) {
    CAPTURE(name);
    CHECK(services(installation, name) == before);
    CHECK(system_state(installation, name) == "running");
    CHECK(database(installation, name) == data);
    CHECK(counts_beyond(installation, name, counted(installation, name)));
    Connection client(addresses_of(installation, name)[0], 6379);
    client.send("GET key7\r\n");
    CHECK(client.receives("$2\r\n49\r\n"));
  }
}
