#include "netsetup/firewall.h"

#include <doctest/doctest.h>

#include <string>

#include "netsetup/sysctl.h"

using namespace holm::netsetup;

namespace {

FirewallPlan plan() {
  return {"holm_1a2b", "holm1a2b", *parse_interface_address("10.160.0.1/24"),
          *parse_interface_address("fd00:1::1/64")};
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the ruleset takes the old table's place in one transaction") {
  CHECK(firewall_ruleset(plan()).starts_with(
      "add table inet holm_1a2b\ndelete table inet holm_1a2b\ntable inet holm_1a2b {\n"));
}

TEST_CASE(
    "containers' addresses are translated on their way out, in both families, and not among themselves") {
  const std::string rules = firewall_ruleset(plan());
  CHECK(has(rules,
            "ip saddr 10.160.0.0/24 ip daddr != 10.160.0.0/24 oifname != \"holm1a2b\" counter masquerade\n"));
  CHECK(has(rules,
            "ip6 saddr fd00:1::/64 ip6 daddr != fd00:1::/64 oifname != \"holm1a2b\" counter masquerade\n"));
}

TEST_CASE("a source that is not a container's is dropped, the host's own too") {
  const std::string rules = firewall_ruleset(plan());
  const size_t gateway = rules.find("ip saddr 10.160.0.1 counter drop");
  const size_t subnet = rules.find("ip saddr 10.160.0.0/24 accept");
  const size_t rest = rules.find("    counter drop\n");
  REQUIRE(rest != std::string::npos);
  CHECK(gateway < subnet);
  CHECK(subnet < rest);
  CHECK(rules.find("accept", rest) == std::string::npos);
}

TEST_CASE("the marker changes with the subnets, so that an outdated table is noticed") {
  FirewallPlan other = plan();
  CHECK(firewall_marker(plan()) == firewall_marker(other));
  CHECK(firewall_marker(plan()).starts_with("ruleset_v1_"));
  CHECK(has(firewall_ruleset(plan()), "chain " + firewall_marker(plan()) + " { }"));
  other.gateway4 = *parse_interface_address("10.161.0.1/24");
  CHECK(firewall_marker(plan()) != firewall_marker(other));
}

TEST_CASE("a host that becomes a router goes on to listen to router advertisements where it did") {
  CHECK(accept_ra_for_router("1", "0") == "2");
  CHECK_FALSE(accept_ra_for_router("0", "0").has_value());
  CHECK_FALSE(accept_ra_for_router("2", "0").has_value());
  CHECK_FALSE(accept_ra_for_router("1", "1").has_value());  // did not listen
}
