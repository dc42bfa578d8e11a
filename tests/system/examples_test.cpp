// The files of examples/, as they are written, and a whole Debian.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/support/debian.h"
#include "tests/support/inside.h"
#include "tests/support/slow_host.h"
#include "tests/support/tcp.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;

namespace {

std::string examples() {
  const char* directory = std::getenv("HOLM_EXAMPLES");
  return directory ? directory : "examples";
}

// What the examples call 'debian', with Python.
DebianTemplate debian_template() {
  DebianTemplate wanted = kServices;
  wanted.name = "debian";
  return wanted;
}

std::string address_of(const Installation& installation, const std::string& name) {
  const json addresses = json::parse(installation.holm_ok({"--json", "inspect", name}))["addresses"];
  return addresses.empty() ? "" : addresses[0].get<std::string>();
}

bool serves(const Installation& installation, const std::string& name, const std::string& text) {
  const std::string address = address_of(installation, name);
  return eventually([&] { return http_get(address, 80).find(text) != std::string::npos; });
}

// What each does besides running until it is stopped.
void check_work(const Installation& installation, const std::string& name) {
  if (name == "hello") {
    CHECK(eventually([&] { return installation.column("hello", "state") == "stopped"; }));
    CHECK(installation.holm_ok({"log", "hello"}).find("Hello from hello, where I am process 1.") !=
          std::string::npos);
    return;
  }
  CHECK(installation.column(name, "state") == "running");
  if (name == "web") CHECK(serves(installation, name, "Hello from web.example.net"));
  if (name == "debian-web") CHECK(serves(installation, name, "Directory listing"));
  if (name == "system")
    CHECK(eventually([&] { return installation.holm({"exec", name, "/bin/true"}).status == 0; }));
  const TimedResult stop =
      holm_timed(installation, {"stop", "--timeout", std::to_string(10 * patience()), name},
                 std::to_string(15 * patience()));
  CHECK(stop.status == 0);
  CHECK(stop.seconds < 5 * patience());
  CHECK(installation.column(name, "state") == "stopped");
  MESSAGE(name << ": " << installation.column(name, "reason") << fmt::format(", {:.2f} s", stop.seconds));
}

void check_examples(const Installation& installation, bool debian) {
  size_t checked = 0;
  for (const std::string& file : list_directory(examples())) {
    if (!file.ends_with(".toml")) continue;
    CAPTURE(file);
    const std::string path = examples() + "/" + file, name = file.substr(0, file.size() - 5);
    if (read_file(path).find("template = \"debian\"") != std::string::npos && !debian) {
      MESSAGE("skipped: needs mmdebstrap and an apt source: " << file);
      continue;
    }
    installation.holm_ok({"config", "check", path});
    const Result result = installation.holm({"start", path});
    CHECK_MESSAGE(result.status == 0, result.errors);
    CHECK(result.errors == "");  // no warning either, on a host that has what the examples need
    check_work(installation, name);
    ++checked;
  }
  CHECK(checked >= 6);
}

void check_systemd(const Installation& installation) {
  installation.start("whole",
                     "template = \"debian\"\ninit = \"/sbin/init\"\n[memory]\nlimit = "
                     "\"512M\"\n[[network]]\nmode = \"nat\"\n");
  std::string state;
  const bool booted = eventually(
      [&] {
        state = std::string(trim(installation.holm({"exec", "whole", "systemctl", "is-system-running"}).out));
        return state == "running" || state == "degraded";
      },
      std::chrono::seconds(20));
  const std::string failed =
      installation.holm({"exec", "whole", "systemctl", "--failed", "--plain", "--no-legend"}).out;
  CHECK_MESSAGE(booted, state, "\n", installation.holm({"log", "whole"}).out);
  CHECK(state == "running");
  CHECK(failed == "");

  // It works as a system does: services, users, names, time, processes of its own in groups of its own.
  CHECK(installation.holm({"exec", "whole", "systemctl", "restart", "systemd-journald", "dbus"}).status == 0);
  CHECK(installation.holm({"exec", "whole", "systemd-run", "--wait", "--quiet", "/bin/true"}).status == 0);
  CHECK(installation.holm({"exec", "whole", "hostnamectl", "hostname"}).out == "whole\n");
  CHECK(installation.holm({"exec", "whole", "journalctl", "--no-pager", "-n", "1"}).out.find("No entries") ==
        std::string::npos);
  CHECK(installation.holm({"exec", "-u", "nobody", "whole", "id", "-un"}).out == "nobody\n");
  CHECK(installation.holm({"exec", "whole", "cat", "/proc/1/comm"}).out == "systemd\n");
  // Set-user-id programs work in a system, unlike below a command with no_new_privs.
  CHECK(installation.holm({"exec", "whole", "su", "-s", "/bin/sh", "-c", "id -u", "nobody"}).out ==
        "65534\n");
  CHECK(installation.holm({"exec", "whole", "python3", "-c", "print(6*7)"}).out == "42\n");

  const pid_t before = installation.pid_of("whole");
  CHECK(installation.holm({"exec", "whole", "systemctl", "reboot"}).status == 0);
  CHECK(eventually(
      [&] {
        return installation.pid_of("whole") != before && installation.column("whole", "state") == "running";
      },
      std::chrono::seconds(20)));
  CHECK(eventually(
      [&] {
        const std::string again = installation.holm({"exec", "whole", "systemctl", "is-system-running"}).out;
        return again == "running\n" || again == "degraded\n";
      },
      std::chrono::seconds(20)));

  const TimedResult stop =
      holm_timed(installation, {"stop", "--timeout", std::to_string(15 * patience()), "whole"},
                 std::to_string(20 * patience()));
  CHECK(stop.status == 0);
  CHECK(stop.seconds < 15 * patience());
  CHECK(installation.column("whole", "reason") == "powered off");
}

}  // namespace

TEST_CASE(
    "each example starts as it is written, runs and stops; a Debian boots, fails in nothing and stops "
    "politely") {
  HOLM_REQUIRES("root", have_root());
  HOLM_REQUIRES("bridges and nftables", have_nat());
  Installation installation;
  const bool debian = have_debian(debian_template());
  if (debian) add_debian(installation, debian_template());
  check_examples(installation, debian);
  HOLM_REQUIRES("mmdebstrap and an apt source", debian);
  check_systemd(installation);
}
