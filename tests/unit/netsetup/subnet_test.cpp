#include "netsetup/subnet.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "netsetup/subnet_file.h"

using namespace holm;
using namespace holm::netsetup;

namespace {

InterfaceAddress address(const char* text) { return parse_interface_address(text).value(); }
std::string text(const InterfaceAddress& value) { return format_interface_address(value); }

}  // namespace

TEST_CASE("an address splits into its network and its host part, and is put together again") {
  CHECK(text(network_of(address("10.0.3.10/24"))) == "10.0.3.0/24");
  CHECK(text(network_of(address("10.0.255.255/21"))) == "10.0.248.0/21");
  CHECK(text(network_of(address("fd00::1:2:3:4/64"))) == "fd00::/64");
  CHECK(host_part(address("10.0.3.10/24")) == 10U);
  CHECK(host_part(address("10.0.3.10/16")) == 3U * 256 + 10);
  CHECK(host_part(address("fd00::1:2/64")) == 65538U);
  CHECK_FALSE(host_part(address("fd00::1:0:0:2/64")).has_value());
  CHECK(text(with_host_part(address("10.0.3.1/24"), 77)) == "10.0.3.77/24");
  CHECK(text(with_host_part(address("fd00::1/64"), 0x10203)) == "fd00::1:203/64");
}

TEST_CASE("the last host of a network is the one below its broadcast address") {
  CHECK(last_host_part(address("10.0.3.1/24")) == 254U);
  CHECK(last_host_part(address("10.0.3.1/30")) == 2U);
  CHECK(last_host_part(address("10.0.3.1/31")) == 0U);
  CHECK(last_host_part(address("10.0.3.1/32")) == 0U);
  CHECK(last_host_part(address("10.0.3.1/8")) == 16777214U);
}

TEST_CASE("networks overlap when one holds the other") {
  CHECK(overlaps(address("10.0.0.0/8"), address("10.160.0.1/24")));
  CHECK(overlaps(address("10.160.0.1/24"), address("10.0.0.0/8")));
  CHECK(overlaps(address("10.160.0.0/24"), address("10.160.0.77/32")));
  CHECK_FALSE(overlaps(address("10.160.0.0/24"), address("10.160.1.0/24")));
}

TEST_CASE("the chosen subnet is private, the same for the same name, and another for another name") {
  const std::vector<InterfaceAddress> nothing;
  const auto gateway = pick_gateway4("holm0", nothing);
  REQUIRE(gateway.has_value());
  CHECK(is_in_network(*gateway, address("10.0.0.0/8")));
  CHECK(gateway->prefix_length == 24);
  CHECK(host_part(*gateway) == 1U);
  CHECK(pick_gateway4("holm0", nothing) == gateway);
  CHECK(pick_gateway4("holm1a2b", nothing) != gateway);
}

TEST_CASE("the chosen subnet overlaps with nothing that the host has") {
  const auto first = pick_gateway4("holm0", {}).value();
  std::vector<InterfaceAddress> occupied = {first};
  const auto second = pick_gateway4("holm0", occupied).value();
  CHECK_FALSE(overlaps(first, second));
  occupied = {address("10.0.0.0/8")};
  CHECK(text(pick_gateway4("holm0", occupied).value()) == "172.28.0.1/24");
  occupied.push_back(address("172.16.0.0/12"));
  CHECK(text(pick_gateway4("holm0", occupied).value()) == "192.168.200.1/24");
  occupied.push_back(address("192.168.0.0/16"));
  CHECK_FALSE(pick_gateway4("holm0", occupied).has_value());
}

TEST_CASE("the random IPv6 subnet is a unique local one, with the host at ::1") {
  CHECK(text(unique_local_gateway6({1, 2, 3, 4, 5, 6, 7})) == "fd01:203:405:607::1/64");
}

TEST_CASE("chosen subnets come back from their file") {
  const Subnets subnets{address("10.160.0.1/24"), address("fd01:203:405:607::1/64")};
  CHECK(encode_subnets(subnets) == "version 1\ngateway4 10.160.0.1/24\ngateway6 fd01:203:405:607::1/64\n");
  CHECK(decode_subnets(encode_subnets(subnets), "network") == subnets);
}

TEST_CASE("a newer or damaged subnet file is refused by name") {
  CHECK_THROWS_WITH_AS(decode_subnets("version 2\nanything\n", "/x/network"),
                       "read '/x/network': its format is version 2, and this Holm knows versions up to 1",
                       Error);
  CHECK_THROWS_WITH_AS(decode_subnets("", "/x/network"),
                       "read '/x/network': not a file of Holm's network subnets", Error);
  for (const char* damaged : {"version 1\n", "version 1\ngateway4 10.160.0.1\ngateway6 fd00::1/64\n",
                              "version 1\ngateway4 fd00::1/64\ngateway6 10.160.0.1/24\n",
                              "version 1\ngateway4 10.160.0.1/24\ngateway6 fd00::1/64\nmore 1\n"})
    CHECK_THROWS_WITH_AS(decode_subnets(damaged, "/x/network"), doctest::Contains("its lines are not"),
                         Error);
}
