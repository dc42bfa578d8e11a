#include "netsetup/resolver.h"

#include <doctest/doctest.h>

#include <string>

using namespace holm::netsetup;

namespace {
constexpr const char* kHead = "";
constexpr const char* kNone = "# the host has no name server that a container could reach\n";
std::string resolv(const ResolverSources& sources) { return make_resolv_conf(sources); }
}  // namespace

TEST_CASE("the host's name servers and search domains are the container's") {
  CHECK(resolv({{},
                "# comment\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch a.example "
                "b.example\noptions edns0 trust-ad\n",
                {}}) ==
        std::string(kHead) +
            "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch a.example b.example\noptions edns0\n");
}

TEST_CASE("name servers that a container cannot reach are left out") {
  CHECK(resolv({{},
                "nameserver 127.0.0.1\nnameserver ::1\nnameserver 0.0.0.0\nnameserver "
                "fe80::1%eth0\nnameserver fe80::1\n"
                "nameserver nonsense\nnameserver 192.0.2.53",
                {}}) == std::string(kHead) + "nameserver 192.0.2.53\n");
}

TEST_CASE("behind systemd-resolved the container asks the servers that it asks") {
  const std::string stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n";
  CHECK(resolv({{}, stub, "nameserver 192.0.2.1\nsearch upstream\n"}) ==
        std::string(kHead) + "nameserver 192.0.2.1\nsearch lan\noptions edns0\n");
  CHECK(resolv({{}, "nameserver 127.0.0.53\n", "nameserver 192.0.2.1\nsearch upstream\n"}) ==
        std::string(kHead) + "nameserver 192.0.2.1\nsearch upstream\n");
  CHECK(resolv({{}, "nameserver 127.0.0.53\n", "nameserver 127.0.0.1\n"}) == std::string(kHead) + kNone);
}

TEST_CASE("without any name server a comment says so") {
  CHECK(resolv({{}, "", {}}) == std::string(kHead) + kNone);
  CHECK(resolv({{}, "nameserver 127.0.0.1\nsearch lan\n", {}}) ==
        std::string(kHead) + kNone + "search lan\n");
}

TEST_CASE("the host's settings win, and three name servers are enough") {
  CHECK(resolv({{"192.0.2.9"}, "nameserver 192.0.2.53\nsearch lan\n", {}}) ==
        std::string(kHead) + "nameserver 192.0.2.9\nsearch lan\n");
  CHECK(resolv({{},
                "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n",
                {}}) ==
        std::string(kHead) + "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n");
}

TEST_CASE("the container's name stands with its addresses") {
  const std::string local = std::string(kHead) +
                            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\nff02::1 "
                            "ip6-allnodes\nff02::2 ip6-allrouters\n";
  CHECK(make_hosts("web.example.net",
                   {*parse_interface_address("10.0.3.10/24"), *parse_interface_address("fd00::a/64")}) ==
        local + "10.0.3.10 web.example.net web\nfd00::a web.example.net web\n");
  CHECK(make_hosts("web", {}) == local + "127.0.1.1 web\n");
  CHECK(make_hosts("", {}) == local);
}
