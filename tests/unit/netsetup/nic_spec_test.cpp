#include "netsetup/nic_spec.h"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <set>
#include <string>

using namespace holm::netsetup;

TEST_CASE("an address comes back as it was written") {
  for (const std::string text :
       {"10.0.3.10/24", "0.0.0.0/0", "192.168.1.255/32", "fd00::10/64", "::/0", "::1/128"}) {
    const auto address = parse_interface_address(text);
    REQUIRE_MESSAGE(address.has_value(), text);
    CHECK(format_interface_address(*address) == text);
  }
  CHECK(format_host_address(*parse_interface_address("10.0.3.10/24")) == "10.0.3.10");
  CHECK(parse_interface_address("FD00:0::10/64") == parse_interface_address("fd00::10/64"));
}

TEST_CASE("an address without prefix length, and one that is none, are told apart from the others") {
  for (const std::string text :
       {"10.0.3.10", "10.0.3.10/", "10.0.3.10/33", "10.0.3.10/-1", "10.0.3.10/+8", "10.0.3/24",
        "10.0.3.256/24", "010.0.0.1/8", " 10.0.3.1/24", "10.0.3.1/24 ", "fd00::1/129", "fd00:::1/64",
        "fe80::1%eth0/64", "", "/", "/24", "10.0.3.10/4294967320"})
    CHECK_MESSAGE(!parse_interface_address(text).has_value(), text);
  CHECK_FALSE(parse_interface_address(std::string_view("10.0.0.1\0/24", 12)).has_value());
  CHECK_FALSE(parse_host_address("10.0.3.10/24").has_value());
  CHECK(parse_host_address("10.0.3.10")->prefix_length == 32);
  CHECK(parse_host_address("fd00::1")->prefix_length == 128);
  CHECK(parse_host_address("fd00::1")->family == AF_INET6);
}

TEST_CASE("an address is in a network when the bits of the network's prefix agree") {
  const auto in = [](const char* address, const char* network) {
    return is_in_network(*parse_interface_address(address), *parse_interface_address(network));
  };
  CHECK(in("10.0.3.10/24", "10.0.3.1/24"));
  CHECK_FALSE(in("10.0.4.10/24", "10.0.3.1/24"));
  CHECK(in("10.0.4.10/24", "10.0.3.1/21"));
  CHECK_FALSE(in("10.0.8.10/24", "10.0.3.1/21"));
  CHECK(in("1.2.3.4/32", "0.0.0.0/0"));
  CHECK(in("fd00::10/64", "fd00::1/64"));
  CHECK_FALSE(in("fd00:0:0:1::10/64", "fd00::1/64"));
  CHECK(in("fd00::1/128", "fd00::1/128"));
  CHECK_FALSE(in("fd00::1/128", "0.0.0.0/0"));
}

TEST_CASE("a MAC address comes back as it was written, and one that no interface can have is refused") {
  CHECK(format_mac(*parse_mac("02:00:00:aB:Cd:ff")) == "02:00:00:ab:cd:ff");
  for (const std::string text :
       {"", "02:00:00:00:00", "02:00:00:00:00:0g", "02-00-00-00-00-01", "02:00:00:00:00:011",
        "01:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"})
    CHECK_MESSAGE(!parse_mac(text).has_value(), text);
}

TEST_CASE("derived MAC addresses are stable, local, unicast and different") {
  CHECK(derive_mac("1a2b", 7, 0) == derive_mac("1a2b", 7, 0));
  std::set<std::string> seen;
  for (const char* installation : {"", "1a2b", "ffff"})
    for (uint32_t number = 0; number < 500; ++number)
      for (unsigned index = 0; index < 3; ++index) {
        const MacAddress mac = derive_mac(installation, number, index);
        CHECK((mac.bytes[0] & 3) == 2);
        seen.insert(format_mac(mac));
      }
  CHECK(seen.size() == 3 * 500 * 3);
  // A container keeps its MAC when Holm is updated.
  CHECK(format_mac(derive_mac("", 1, 0)) == "26:38:52:a6:4b:3a");
}
