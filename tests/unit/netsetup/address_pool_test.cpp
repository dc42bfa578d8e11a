#include "netsetup/address_pool.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::netsetup;

namespace {

InterfaceAddress address(const char* text) { return parse_interface_address(text).value(); }

std::string texts(const std::vector<InterfaceAddress>& addresses) {
  std::string out;
  for (const auto& one : addresses) out += (out.empty() ? "" : " ") + format_interface_address(one);
  return out;
}

struct Fixture {
  test::TemporaryDirectory directory;
  std::string path = directory.path() + "/addresses";
  AddressPool pool{path, address("10.160.0.1/24"), address("fd00:1::1/64")};
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "both families have the same host part, and the host's own is left out") {
  CHECK(texts(pool.acquire("web")) == "10.160.0.2/24 fd00:1::2/64");
  CHECK(texts(pool.acquire("mail")) == "10.160.0.3/24 fd00:1::3/64");
}

TEST_CASE_FIXTURE(Fixture, "an owner keeps its addresses, and what it gives back is free") {
  CHECK(texts(pool.acquire("web")) == "10.160.0.2/24 fd00:1::2/64");
  CHECK(texts(pool.acquire("web")) == "10.160.0.2/24 fd00:1::2/64");
  release_addresses(path, "mail");  // holds nothing
  release_addresses(path, "web");
  CHECK(address_owners(path).empty());
  CHECK(texts(pool.acquire("mail")) == "10.160.0.2/24 fd00:1::2/64");
}

TEST_CASE_FIXTURE(Fixture, "an owner's new name takes its addresses along") {
  pool.acquire("web", {address("10.160.0.7/24"), address("fd00:1::9/64")});
  rename_address_owner(path, "web", "www");
  CHECK(address_owners(path) == std::map<uint32_t, std::string>{{7, "www"}, {9, "www"}});
  CHECK_THROWS_WITH_AS(pool.acquire("web", {address("10.160.0.7/24")}),
                       "use address '10.160.0.7/24': container 'www' holds it", Error);
}

TEST_CASE_FIXTURE(Fixture, "a requested address is given, and its counterpart of the other family with it") {
  CHECK(texts(pool.acquire("a", {address("10.160.0.10/24")})) == "10.160.0.10/24 fd00:1::a/64");
  CHECK(texts(pool.acquire("b", {address("fd00:1::b/64")})) == "fd00:1::b/64 10.160.0.11/24");
  CHECK(texts(pool.acquire("c", {address("10.160.0.20/24"), address("fd00:1::99/64")})) ==
        "10.160.0.20/24 fd00:1::99/64");
  // No IPv4 address has that host part.
  CHECK(texts(pool.acquire("d", {address("fd00:1::1:0/64")})) == "fd00:1::1:0/64 10.160.0.2/24");
}

TEST_CASE_FIXTURE(Fixture, "an owner that asks for another address gives the old one back") {
  pool.acquire("web");
  CHECK(texts(pool.acquire("web", {address("10.160.0.10/24")})) == "10.160.0.10/24 fd00:1::a/64");
  CHECK(address_owners(path) == std::map<uint32_t, std::string>{{10, "web"}});
}

TEST_CASE_FIXTURE(Fixture,
                  "an address that is another's is refused with its owner's name, and nothing stays taken") {
  pool.acquire("web", {address("10.160.0.10/24")});
  CHECK_THROWS_WITH_AS(pool.acquire("mail", {address("10.160.0.5/24"), address("fd00:1::a/64")}),
                       "use address 'fd00:1::a/64': container 'web' holds it", Error);
  CHECK(address_owners(path) == std::map<uint32_t, std::string>{{10, "web"}});
}

TEST_CASE_FIXTURE(Fixture, "addresses that cannot be a container's are refused with the reason") {
  const auto refusal = [&](const char* text) -> std::string {
    try {
      pool.acquire("web", {address(text)});
    } catch (const Error& error) {
      CHECK(error.exit_status() == kExitUsage);
      return error.message();
    }
    return "";
  };
  CHECK(refusal("10.161.0.5/24") == "use address '10.161.0.5/24': the nat network is '10.160.0.0/24'");
  CHECK(refusal("10.160.0.5/16") == "use address '10.160.0.5/16': the nat network is '10.160.0.0/24'");
  CHECK(refusal("fd00:2::5/64") == "use address 'fd00:2::5/64': the nat network is 'fd00:1::/64'");
  CHECK(refusal("10.160.0.0/24") == "use address '10.160.0.0/24': it is the network's own");
  CHECK(refusal("10.160.0.1/24") ==
        "use address '10.160.0.1/24': it is the host's, and the containers' gateway");
  CHECK(refusal("10.160.0.255/24") == "use address '10.160.0.255/24': it is the network's broadcast address");
  CHECK(refusal("fd00:1::1:0:0:1/64") ==
        "use address 'fd00:1::1:0:0:1/64': the part after the prefix exceeds 32 bits");
  CHECK(address_owners(path).empty());
}

TEST_CASE("without IPv6 there are IPv4 addresses only") {
  test::TemporaryDirectory directory;
  AddressPool pool(directory.path(), address("10.160.0.254/24"), std::nullopt);
  CHECK(texts(pool.acquire("web")) == "10.160.0.1/24");
  CHECK_THROWS_WITH_AS(pool.acquire("mail", {address("fd00:1::5/64")}),
                       "use address 'fd00:1::5/64': this host has no IPv6", Error);
}

TEST_CASE("a full network says so, and what to do") {
  test::TemporaryDirectory directory;
  AddressPool pool(directory.path(), address("10.160.0.2/29"), std::nullopt);
  std::string all;
  for (const char* owner : {"a", "b", "c", "d", "e"}) all += texts(pool.acquire(owner)) + " ";
  CHECK(all == "10.160.0.1/29 10.160.0.3/29 10.160.0.4/29 10.160.0.5/29 10.160.0.6/29 ");
  try {
    pool.acquire("f");
    FAIL("a sixth address");
  } catch (const Error& error) {
    CHECK(error.report() ==
          "take an address of '10.160.0.0/29' for 'f': all 5 are held\n"
          "  hint: destroy containers that are not needed, or give the nat network a larger subnet in the "
          "host's settings");
  }
}

TEST_CASE("twenty containers that start at the same moment get twenty addresses") {
  test::TemporaryDirectory directory;
  for (int child = 0; child < 20; ++child) {
    if (::fork() == 0) {
      AddressPool pool(directory.path(), address("10.160.0.1/24"), std::nullopt);
      ::_exit(pool.acquire("c" + std::to_string(child)).size() == 1 ? 0 : 1);
    }
  }
  int status = 0;
  while (::wait(&status) > 0) CHECK(status == 0);
  CHECK(address_owners(directory.path()).size() == 20);
}
