#include <doctest/doctest.h>

#include "runtime/network_plan.h"
#include "runtime/paths.h"

using namespace holm::runtime;

TEST_CASE("a link's name tells the container's number and nothing else passes for one") {
  Paths paths;
  CHECK(paths.veth(7) == "hm7");
  CHECK(paths.veth(7, 2) == "hm7i2");
  CHECK(paths.number_of_veth("hm7") == 7);
  CHECK(paths.number_of_veth("hm7i2") == 7);
  for (const char* other :
       {"hm", "hm-7", "hmx", "hm7i", "hm7ix", "hm7x1", "hm1a2b-7", "veth7", "hm99999999999"})
    CHECK(paths.number_of_veth(other) == -1);
}

TEST_CASE("installations beside each other share no name of a kernel object") {
  Paths paths, other;
  other.run = "/tmp/other";
  const std::string mark = other.installation();
  REQUIRE(mark.size() == 4);
  CHECK(other.veth(7) == "hm" + mark + "-7");
  CHECK(other.number_of_veth(other.veth(7, 1)) == 7);
  CHECK(paths.number_of_veth(other.veth(7)) == -1);
  CHECK(other.number_of_veth("hm7") == -1);
  CHECK(paths.cgroup_parent() != other.cgroup_parent());
  CHECK(paths.bridge() != other.bridge());
  CHECK(paths.firewall_table() != other.firewall_table());
}

TEST_CASE("the addresses of every interface belong to its container") {
  CHECK(container_of_address_owner("web") == "web");
  CHECK(container_of_address_owner("web.1") == "web");
}
