// Networks of containers: what they reach, what reaches them, and what is left of them.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/unique_fd.h"
#include "runtime/paths.h"
#include "tests/support/inside.h"
#include "tests/support/slow_host.h"
#include "tests/support/tcp.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;

namespace {

constexpr const char* kNat = "[[network]]\nmode = \"nat\"\n";
constexpr const char* kIdle = "command = [\"/bin/sleep\", \"1000\"]\n";
constexpr const char* kWeb =
    "command = [\"/bin/sh\", \"-c\", \"mkdir -p /srv/www; hostname > /srv/www/index.html; exec httpd -f -p "
    "80 -h /srv/www\"]\n";

// IPv4 first, IPv6 second where the host has it.
std::vector<std::string> addresses_of(const Installation& installation, const std::string& name) {
  return json::parse(installation.holm_ok({"--json", "inspect", name}))["addresses"]
      .get<std::vector<std::string>>();
}

std::string bridge_of(const Installation& installation) {
  runtime::Paths paths;
  paths.run = installation.run_directory();
  return paths.bridge();
}

std::string table_of(const Installation& installation) {
  runtime::Paths paths;
  paths.run = installation.run_directory();
  return paths.firewall_table();
}

std::string link_of(const Installation& installation, const std::string& name) {
  runtime::Paths paths;
  paths.run = installation.run_directory();
  return paths.veth(static_cast<uint32_t>(parse_unsigned(installation.column(name, "number")).value_or(0)));
}

// "10.1.2.1/24" and "fd..::1/64" of the bridge.
std::vector<std::string> bridge_addresses(const Installation& installation) {
  std::vector<std::string> found;
  for (const std::string family : {"-4", "-6"})
    for (const std::string& line :
         split(run_host({"ip", family, "-o", "address", "show", "dev", bridge_of(installation)}).out, '\n'))
      if (const auto words = split_words(line); words.size() > 3 && !words[3].starts_with("fe80"))
        found.push_back(words[3]);
  return found;
}

std::string without_prefix(const std::string& address) { return address.substr(0, address.find('/')); }

// 10.1.2.1/24 and 77 give 10.1.2.77/24.
std::string neighbour_of(const std::string& address, int last) {
  return address.substr(0, address.rfind('.') + 1) + std::to_string(last) + address.substr(address.find('/'));
}

bool answers(const std::string& address, const std::string& text) {
  return eventually([&] { return http_get(address, 80).find(text) != std::string::npos; },
                    std::chrono::seconds(5));
}

// A script that prints what the server says, if it does so within the time.
std::string ask(const std::string& address, const TcpServer& server, int seconds) {
  return fmt::format("nc -w {} {} {} < /dev/null", seconds * patience(), address, server.port());
}

}  // namespace

TEST_CASE("the host and other containers reach a web server in a container, over IPv4 and IPv6") {
  HOLM_REQUIRES("bridges and nftables", have_nat());
  Installation installation;
  installation.start("web", std::string(kWeb) + kNat);
  installation.start("other", std::string(kWeb) + kNat);
  const auto web = addresses_of(installation, "web"), other = addresses_of(installation, "other");
  REQUIRE(!web.empty());
  CHECK(web.size() == (sys::exists("/proc/sys/net/ipv6") ? 2 : 1));
  CHECK(web.size() == other.size());
  for (size_t i = 0; i < web.size(); ++i) {
    CAPTURE(web[i]);
    CHECK(web[i] != other[i]);
    CHECK(answers(web[i], "web"));
    CHECK(answers(other[i], "other"));
    const std::string page =
        answer(installation, "other",
               fmt::format("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w {} {} 80", 3 * patience(), web[i]));
    CHECK(page.ends_with("\nweb"));
  }
  CHECK(installation.column("web", "address") == join(web, " "));
}

TEST_CASE("a container reaches the host at the bridge's address, and the gateway is its default route") {
  HOLM_REQUIRES("bridges and nftables", have_nat());
  Installation installation;
  installation.start("box", std::string(kIdle) + kNat);
  for (const std::string& address : bridge_addresses(installation)) {
    const std::string gateway = without_prefix(address);
    CAPTURE(gateway);
    const TcpServer server(gateway, "hello from the host\n");
    CHECK(answer(installation, "box", ask(gateway, server, 3)) == "hello from the host");
    const bool is_v4 = gateway.find(':') == std::string::npos;
    CHECK(answer(installation, "box", is_v4 ? "ip route show default" : "ip -6 route show default")
              .find("via " + gateway) != std::string::npos);
  }
}

TEST_CASE("a container cannot use an address that is not its own subnet's, nor the gateway's") {
  HOLM_REQUIRES("bridges and nftables", have_nat());
  Installation installation;
  installation.start("box", std::string(kIdle) + kNat);
  const std::string gateway = without_prefix(bridge_addresses(installation).at(0));
  const TcpServer server(gateway, "hello\n");
  const std::string ask_host = ask(gateway, server, 2);
  CHECK(answer(installation, "box", ask_host) == "hello");
  inside(installation, "box",
         "ip address flush dev eth0; ip address add 192.0.2.7/24 dev eth0; ip route add " + gateway +
             " dev eth0");
  CHECK(answer(installation, "box", ask_host + " || true") == "");
}

TEST_CASE("addresses and MAC stay over a restart, and no two containers share them") {
  HOLM_REQUIRES("bridges and nftables", have_nat());
  Installation installation;
  installation.start("box", std::string(kIdle) + kNat);
  installation.start("other", std::string(kIdle) + kNat);
  const std::string mac = answer(installation, "box", "cat /sys/class/net/eth0/address");
  const auto addresses = addresses_of(installation, "box");
  CHECK(std::string("26ae").find(mac.at(1)) != std::string::npos);  // of no maker, and one station's
  CHECK(mac != answer(installation, "other", "cat /sys/class/net/eth0/address"));
  installation.holm_ok({"stop", "box", "other"});
  installation.holm_ok({"start", "other"});
  installation.holm_ok({"start", "box"});
  CHECK(answer(installation, "box", "cat /sys/class/net/eth0/address") == mac);
  CHECK(addresses_of(installation, "box") == addresses);
  for (const std::string& address : addresses)
    CHECK(answer(installation, "box", "ip -o address show dev eth0").find(" " + address + "/") !=
          std::string::npos);
  installation.holm_ok({"reboot", "box"});
  CHECK(addresses_of(installation, "box") == addresses);
}

TEST_CASE("mode none has a loopback only, and mode host has the host's links but no power over them") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("none", kIdle);
  CHECK(answer(installation, "none", "ls /sys/class/net") == "lo");
  CHECK(answer(installation, "none", "ip -o address show dev lo").find("127.0.0.1/8") != std::string::npos);
  CHECK(answer(installation, "none", "ip route; ip -6 route show table main") == "");
  const TcpServer server("127.0.0.1", "the host's own\n");
  const std::string ask_host = ask("127.0.0.1", server, 2) + " || true";
  CHECK(answer(installation, "none", ask_host) == "");

  installation.start("shared", std::string(kIdle) + "[[network]]\nmode = \"host\"\n");
  CHECK(answer(installation, "shared", "ls -1 /sys/class/net") ==
        std::string(trim(run_host({"ls", "-1", "/sys/class/net"}).out)));
  CHECK(answer(installation, "shared", ask_host) == "the host's own");
  CHECK(inside(installation, "shared", "ip link set lo down").status != 0);
  CHECK(inside(installation, "shared", "ip link add holmtest type dummy").status != 0);
  const std::string forward = read_file("/proc/sys/net/ipv4/ip_forward");
  CHECK(inside(installation, "shared", "echo 0 > /proc/sys/net/ipv4/ip_forward").status != 0);
  CHECK(read_file("/proc/sys/net/ipv4/ip_forward") == forward);
  CHECK(inside(installation, "shared", "nc -w 1 -l -p 80").status !=
        0);  // a port below 1024 is the host's root's
}

TEST_CASE(
    "an address and a MAC that are asked for are used; what cannot be given is refused with who has it") {
  HOLM_REQUIRES("bridges and nftables", have_nat());
  Installation installation;
  installation.start("box", std::string(kIdle) + kNat);
  const std::string gateway = bridge_addresses(installation).at(0);
  const std::string wanted = neighbour_of(gateway, 77);
  const std::string nic =
      std::string(kNat) + "addresses = [\"" + wanted + "\"]\nmac = \"02:00:00:aa:bb:cc\"\nname = \"wan0\"\n";
  installation.start("fixed", std::string(kIdle) + nic);
  CHECK(addresses_of(installation, "fixed").at(0) == without_prefix(wanted));
  CHECK(answer(installation, "fixed", "cat /sys/class/net/wan0/address") == "02:00:00:aa:bb:cc");
  CHECK(answer(installation, "fixed", "ip -4 -o address show dev wan0").find(" " + wanted) !=
        std::string::npos);

  const Result twice =
      installation.holm({"start", installation.write_config("twice", std::string(kIdle) + nic)});
  CHECK(twice.status == 1);
  CHECK(twice.errors.find(without_prefix(wanted)) != std::string::npos);
  CHECK(twice.errors.find("'fixed'") != std::string::npos);

  const Result outside = installation.holm(
      {"start",
       installation.write_config("outside", std::string(kIdle) + kNat + "addresses = [\"192.0.2.9/24\"]\n")});
  CHECK(outside.status != 0);
  CAPTURE(outside.errors);
  CHECK(outside.errors.find("192.0.2.9") != std::string::npos);
  CHECK(outside.errors.find("the nat network is") != std::string::npos);

  const Result own = installation.holm(
      {"start", installation.write_config(
                    "gateway", std::string(kIdle) + kNat + "addresses = [\"" + gateway + "\"]\n")});
  CHECK(own.status != 0);
  CHECK(own.errors.find(without_prefix(gateway)) != std::string::npos);
}

TEST_CASE(
    "names are written into the container: its own, its neighbours' it must ask for, and a name server") {
  HOLM_REQUIRES("bridges and nftables", have_nat());
  Installation installation;
  replace_file(installation.host_config(), "[network]\nnameservers = [\"192.0.2.53\"]\n");
  installation.start("box", std::string(kIdle) + "hostname = \"web.example.net\"\n" + kNat);
  CHECK(answer(installation, "box", "cat /etc/hostname") == "web.example.net");
  CHECK(answer(installation, "box", "grep nameserver /etc/resolv.conf") == "nameserver 192.0.2.53");
  const std::string hosts = answer(installation, "box", "cat /etc/hosts");
  CHECK(hosts.find("127.0.0.1 localhost") != std::string::npos);
  for (const std::string& address : addresses_of(installation, "box"))
    CHECK(hosts.find(address + " web.example.net web") != std::string::npos);
  CHECK(answer(installation, "box", "ping -c 1 -W 2 web.example.net > /dev/null && echo reached") ==
        "reached");
  // What the container's owner changed stays.
  inside(installation, "box",
         "echo 'nameserver 198.51.100.1' > /etc/resolv.conf; echo '192.0.2.1 own' > /etc/hosts");
  installation.holm_ok({"reboot", "box"});
  CHECK(answer(installation, "box", "cat /etc/resolv.conf") == "nameserver 198.51.100.1");
  CHECK(answer(installation, "box", "cat /etc/hosts") == "192.0.2.1 own");
}

TEST_CASE("a stopped container's link is gone within a second, and the last one's network with it on gc") {
  HOLM_REQUIRES("bridges and nftables", have_nat());
  Installation installation;
  installation.start("box", std::string(kIdle) + kNat);
  const std::string link = "/sys/class/net/" + link_of(installation, "box");
  CHECK(sys::exists(link));
  CHECK(sys::exists("/sys/class/net/" + bridge_of(installation)));
  installation.holm_ok({"stop", "box"});
  CHECK(eventually([&] { return !sys::exists(link); }, std::chrono::seconds(1)));
  // Where init ends by itself, the kernel takes it along with the network namespace: a moment later.
  installation.start("short", std::string("command = [\"/bin/sleep\", \"0.2\"]\n") + kNat);
  const std::string short_link = "/sys/class/net/" + link_of(installation, "short");
  REQUIRE(eventually([&] { return installation.column("short", "state") == "stopped"; }));
  CHECK(eventually([&] { return !sys::exists(short_link); }, std::chrono::seconds(1)));
}

TEST_CASE(
    "a bridge or a firewall that was removed by hand is repaired by the next start, for running ones, too") {
  HOLM_REQUIRES("bridges and nftables", have_nat());
  Installation installation;
  installation.start("web", std::string(kWeb) + kNat);
  const auto web = addresses_of(installation, "web");
  REQUIRE(answers(web.at(0), "web"));
  run_host({"ip", "link", "delete", bridge_of(installation)});
  run_host({"nft", "delete", "table", "inet", table_of(installation)});
  installation.start("second", std::string(kWeb) + kNat);
  CHECK(run_host({"nft", "list", "table", "inet", table_of(installation)}).status == 0);
  for (const std::string& address : web) CHECK(answers(address, "web"));
  CHECK(answers(addresses_of(installation, "second").at(0), "second"));
  run_host({"nft", "flush", "table", "inet", table_of(installation)});
  installation.start("third", std::string(kIdle) + kNat);
  CHECK(run_host({"nft", "list", "table", "inet", table_of(installation)}).out.find("masquerade") !=
        std::string::npos);
}

TEST_CASE("modes that are not there yet are refused by name, before anything is made") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  for (const std::string mode : {"bridge", "routed", "macvlan", "phys"}) {
    CAPTURE(mode);
    const Result result = installation.holm(
        {"start",
         installation.write_config("box", std::string(kIdle) + "[[network]]\nmode = \"" + mode + "\"\n")});
    CHECK(result.status == 2);
    CHECK(result.errors.find("\"" + mode + "\"") != std::string::npos);
    CHECK(result.errors.find("not available in this version") != std::string::npos);
  }
  CHECK(installation.holm_ok({"list", "-a", "-H"}) == "");
}
