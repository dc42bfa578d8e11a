// What a saved container has of its network: addresses, connections, settings.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/criu.h"
#include "tests/support/pty_program.h"
#include "tests/support/tcp.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

constexpr const char* kNat = "[[network]]\nmode = \"nat\"\n";

}  // namespace

TEST_CASE("addresses, MAC and routes stay, servers answer, and connections survive") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const Installation installation;
  installation.start("box", echo_server());
  const auto addresses = addresses_of(installation, "box");
  const std::string look =
      // The kernel goes on looking for whoever may have the link-local address, too ("tentative").
      "cat /sys/class/net/eth0/address; ip -o address show dev eth0 | sed 's/ *valid_lft.*//; s/ "
      "tentative//'; ip route; "
      "ip -6 route show dev eth0 | sort";
  const std::string network = answer(installation, "box", look);
  std::vector<std::unique_ptr<Connection>> connections;
  for (const std::string& address : addresses)
    connections.push_back(std::make_unique<Connection>(address, 7000));
  for (auto& connection : connections) CHECK(connection->echoes("before\n"));

  installation.holm_ok({"checkpoint", "box"});
  for (auto& connection : connections) CHECK(connection->echoes("after one that it ran on from\n"));
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    suspend(installation, "box");
    for (auto& connection : connections) connection->send("while it is away\n");
    std::this_thread::sleep_for(400ms);
    for (auto& connection : connections) CHECK(connection->is_silent());
    go_on(installation, "box");
    for (auto& connection : connections) CHECK(connection->receives("while it is away\n"));
    const std::string much(300'000, 'x');
    for (auto& connection : connections) CHECK(connection->echoes(much));
  }
  CHECK(addresses_of(installation, "box") == addresses);
  CHECK(answer(installation, "box", look) == network);
  for (const std::string& address : addresses) CHECK(Connection(address, 7000).echoes("a new one\n"));
  CHECK(counted(installation, "box") > 0);
}

TEST_CASE("connections survive gc and other containers' starts while theirs is away") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const Installation installation;
  installation.start("box", echo_server());
  const auto addresses = addresses_of(installation, "box");
  Connection connection(addresses[0], 7000);
  CHECK(connection.echoes("before\n"));
  suspend(installation, "box");
  installation.holm_ok({"gc"});
  installation.start("other", std::string("command = [\"/bin/sleep\", \"1000\"]\n") + kNat);
  // Nobody else gets what it will want back.
  CHECK(addresses_of(installation, "other")[0] != addresses[0]);
  connection.send("while it is away\n");
  go_on(installation, "box");
  CHECK(addresses_of(installation, "box") == addresses);
  CHECK(connection.receives("while it is away\n"));
}

TEST_CASE("what it set of its network goes with it") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const Installation installation;
  installation.start("box", counter() + kNat);
  const std::vector<std::pair<std::string, std::string>> settings = {
      {"ipv4/ip_local_port_range", "20000 20100"},
      {"ipv4/ip_forward", "1"},
      {"ipv4/ip_nonlocal_bind", "1"},
      {"ipv4/tcp_keepalive_time", "777"},
      {"ipv4/conf/eth0/rp_filter", "2"}};
  for (const auto& [name, value] : settings)
    inside(installation, "box", fmt::format("echo {} > /proc/sys/net/{}", value, name));
  const auto check = [&](const std::string& container) {
    for (const auto& [name, value] : settings) {
      const auto words = split_words(answer(installation, container, "cat /proc/sys/net/" + name));
      CHECK(fmt::format("{}", fmt::join(words, " ")) == value);
    }
    CHECK(answer(installation, container, "cat /proc/sys/net/ipv6/ip_nonlocal_bind") == "0");
  };
  check("box");
  suspend_and_go_on(installation, "box");
  check("box");
  installation.holm_ok({"clone", "--live", "box", "copy"});
  check("copy");
  check("box");
}

TEST_CASE("while it is saved the host neither answers it nor hears of it") {
  HOLM_REQUIRES("root, nat, CRIU", have_criu() && have_nat());
  const Installation installation;
  installation.start("box", std::string("command = [\"/bin/sleep\", \"1000\"]\n") + kNat);
  const std::string pid = std::to_string(installation.pid_of("box"));
  const auto in_its_network = [&](const std::string& script) {
    return std::string(trim(run_host({"nsenter", "-t", pid, "-n", "sh", "-c", script}).out));
  };
  const std::string gateway = in_its_network("ip route | awk '/^default/ { print $3 }'");
  const std::string asks = fmt::format(
      "ip neigh flush dev eth0; busybox ping -c 1 -W 1 {0} > /dev/null; ip neigh show {0}", gateway);
  CHECK(eventually([&] { return in_its_network(asks).contains("lladdr"); }));

  const pid_t command =
      installation.holm_background({"checkpoint", "box"}, {{"HOLM_FAULT", "stop:save the cgroups"}});
  const std::string state = fmt::format("/proc/{}/stat", command);
  CHECK(eventually([&] { return read_file_if_exists(state).value_or("").contains(") T "); }));
  const std::string answer = in_its_network(asks);
  CHECK_MESSAGE(!answer.contains("lladdr"), answer);
  // A host that has been told who the container is takes nothing from it either.
  const std::string link = "hm" + installation.mark() + "-" + installation.column("box", "number");
  CHECK(read_file("/proc/sys/net/ipv4/conf/" + link + "/rp_filter") == "1\n");
  if (sys::exists("/proc/sys/net/ipv6"))
    CHECK(read_file("/proc/sys/net/ipv6/conf/" + link + "/disable_ipv6") == "1\n");
  ::kill(command, SIGCONT);
  int status = 0;
  CHECK(::waitpid(command, &status, 0) == command);
  CHECK(status == 0);
  CHECK(eventually([&] { return in_its_network(asks).contains("lladdr"); }));
}

TEST_CASE("its firewall goes with it, and to a copy") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  const std::string file = installation.directory() + "/box.holm";
  installation.start("box", "command = [\"/bin/sleep\", \"1000\"]\n");
  const auto in_network_of = [&](const std::string& name, const std::string& words) {
    return run_host({"sh", "-c", fmt::format("nsenter -t {} -n nft {}", installation.pid_of(name), words)});
  };
  const std::string rules = installation.directory() + "/rules";
  write_file_durably(rules,
                     "table inet mine {\n  set bad {\n    type ipv4_addr\n    elements = { 192.0.2.1 }\n  }\n"
                     "  chain in {\n    type filter hook input priority 0; policy accept;\n"
                     "    tcp dport { 81, 82 } counter drop\n    ip6 saddr fd00::1 reject\n  }\n}\n"
                     "table ip other {\n  chain out {\n    type nat hook postrouting priority 100;\n"
                     "    oifname \"lo\" masquerade\n  }\n}\n");
  const Result set = in_network_of("box", "-f " + rules);
  REQUIRE_MESSAGE(set.status == 0, set.errors);
  const std::string before = in_network_of("box", "list ruleset").out;
  CHECK(before.contains("dport { 81, 82 }"));
  for (int generation = 0; generation < 2; ++generation) {
    suspend_and_go_on(installation, "box");
    CHECK(in_network_of("box", "list ruleset").out == before);
  }
  installation.holm_ok({"save", "--leave-running", "box", file});
  installation.holm_ok({"restore", file, "--name", "copy"});
  CHECK(in_network_of("copy", "list ruleset").out == before);
}
