#include <doctest/doctest.h>

#include <set>

#include "base/error.h"
#include "runtime/host_settings.h"

using namespace holm;
using namespace holm::runtime;

namespace {

std::string refusal(const std::string& text) {
  try {
    parse_host_settings(text, "holm.toml");
  } catch (const Error& error) {
    CHECK(error.exit_status() == 2);
    return error.report();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("host settings that are not there are the defaults") {
  const HostSettings settings = load_host_settings("/nonexistent/holm.toml");
  CHECK_FALSE(settings.first_id.has_value());
  CHECK(settings.range_count == 4096);
  CHECK_FALSE(settings.subnet.has_value());
  CHECK(settings.nameservers.empty());
  CHECK_FALSE(settings.is_default_file);
}

TEST_CASE("every host setting is read") {
  const HostSettings settings = parse_host_settings(R"(
[ids]
first = 131072
count = 10
[network]
subnet = "10.88.0.0/24"
subnet6 = "fd00:88::/64"
nameservers = ["192.0.2.53", "2001:db8::53"]
[ledger]
hours = 10
days = 90
months = 36
)",
                                                    "holm.toml");
  CHECK(settings.first_id == 131072U);
  CHECK(settings.range_count == 10);
  CHECK(netsetup::format_interface_address(settings.subnet.value()) == "10.88.0.0/24");
  CHECK(netsetup::format_interface_address(settings.subnet6.value()) == "fd00:88::/64");
  REQUIRE(settings.nameservers.size() == 2);
  CHECK(netsetup::format_host_address(settings.nameservers[1]) == "2001:db8::53");
  CHECK(settings.ledger.hours_days == 10);
  CHECK(settings.ledger.days_days == 90);
  CHECK(settings.ledger.months_months == 36);
}

TEST_CASE("the ledger keeps what is coarser at least as long as what is finer") {
  CHECK(refusal("[ledger]\nhours = 500").find("'ledger.days' (400) is less than 'ledger.hours' (500)") !=
        std::string::npos);
  CHECK(refusal("[ledger]\nmonths = 3").find("'ledger.months' (3) are less than 'ledger.days' (400)") !=
        std::string::npos);
  CHECK(refusal("[ledger]\nhours = 0").find("a number of days from 1 to 3660") != std::string::npos);
}

TEST_CASE("host settings have the same quality of errors as configs") {
  CHECK(refusal("[ids]\nfrst = 1") ==
        "host settings: unknown key 'ids.frst'\n  at:   holm.toml:2:1\n  hint: did you mean 'ids.first'?");
  CHECK(refusal("[ids]\nfirst = 65537") ==
        "host settings: 'ids.first' must be a multiple of 65536 from 65536 on, not 65537\n  at:   "
        "holm.toml:2:9\n"
        "  hint: the next one is 131072");
  CHECK(contains(refusal("[ids]\nfirst = 0"), "'ids.first' must be"));
  CHECK(contains(refusal("[ids]\nfirst = 4294836224"), "'ids.count' is 4096, but only 1 ranges fit"));
  CHECK(contains(refusal("[ids]\ncount = 0"), "'ids.count' must be"));
  CHECK(contains(refusal("[network]\nsubnet = \"10.1.2.3/24\""), "hint: its network is \"10.1.2.0/24\""));
  CHECK(contains(refusal("[network]\nsubnet = \"fd00::/64\""), "'network.subnet' must be an IPv4 network"));
  CHECK(contains(refusal("[network]\nsubnet = \"10.0.0.0/30\""), "'network.subnet' must be an IPv4 network"));
  CHECK(contains(refusal("[network]\nnameservers = [\"x\"]"),
                 "holds \"x\", which is no address\n  at:   holm.toml:2:16"));
  CHECK(contains(refusal("[network]\nnameservers = [\"1.1.1.1\", \"1.1.1.2\", \"1.1.1.3\", \"1.1.1.4\"]"),
                 "must be a list of at most 3 addresses, not 4"));
  CHECK(contains(refusal("template = \"x\""), "unknown key 'template'"));
}

TEST_CASE("the default installation has the configured ids") {
  HostSettings settings;
  CHECK(id_range_first(settings, "") == 1048576);
  CHECK(id_block(settings, "").range_count == 4096);
  settings.first_id = 655360;
  CHECK(id_range_first(settings, "") == 655360);
}

TEST_CASE("no other installation's ids overlap those of the default one") {
  for (const uint32_t first : {0U, 655360U, 1048576U, 1073741824U, 2013265920U}) {
    HostSettings settings;
    if (first) settings.first_id = first;
    const IdBlock standard = id_block(settings, "");
    std::set<uint32_t> firsts;
    for (const char* installation : {"0000", "0001", "1a2b", "7fff", "8000", "ffff", "00de", "00df"}) {
      CAPTURE(installation);
      const IdBlock other = id_block(settings, installation);
      CHECK(other.range_count == 128);
      CHECK(other.first % kIdsPerRange == 0);
      CHECK((other.first >= standard.end() || other.end() <= standard.first));
      CHECK(other.end() <= uint64_t{1} << 31);
      firsts.insert(other.first);
    }
    CHECK(firsts.size() >= 6);
    CHECK(id_range_first(settings, "1a2b") == id_range_first(settings, "1a2b"));
  }
}

TEST_CASE("an installation with a settings file of its own has the ids that it says") {
  HostSettings settings;
  settings.is_default_file = false;
  settings.first_id = 131072;
  settings.range_count = 10;
  CHECK(id_range_first(settings, "1a2b") == 131072);
  CHECK(id_block(settings, "1a2b").range_count == 10);
}

TEST_CASE(
    "an own settings file that says nothing of the first id keeps away from the default installation's ids") {
  HostSettings settings;
  settings.is_default_file = false;
  settings.range_count = 10;
  const IdBlock other = id_block(settings, "1a2b");
  CHECK(other.range_count == 10);
  CHECK(other.first >= id_block(HostSettings{}, "").end());
}

TEST_CASE("an overlap with subordinate ids of the host's users is found and named") {
  const IdBlock block{1048576, 16};
  CHECK_FALSE(find_subuid_overlap(block, "").has_value());
  CHECK_FALSE(find_subuid_overlap(block, "anna:100000:65536\nbob:165536:65536\n").has_value());
  CHECK(find_subuid_overlap(block, "anna:100000:65536\nbob:1000000:65536\n") == "bob");
  CHECK(find_subuid_overlap(block, "bob:2097151:1\n") == "bob");
  CHECK_FALSE(find_subuid_overlap(block, "bob:2097152:1\nanna:1048575:1\n").has_value());
  CHECK_FALSE(find_subuid_overlap(block, "# x\nbob\nbob:a:b\nbob:1048576:0\n:::::\n").has_value());
}
