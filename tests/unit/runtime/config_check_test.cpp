#include "runtime/config_check.h"

#include <doctest/doctest.h>

#include "base/error.h"
#include "runtime/config_values.h"

using namespace holm;
using namespace holm::runtime;

namespace {

const HostFacts kHost = {{0, 1}, {}, {}};

ContainerSpec good_spec() {
  ContainerSpec spec;
  spec.name = spec.hostname = "web";
  spec.root.template_name = "busybox";
  spec.networks.emplace_back();
  return spec;
}

// What check_spec says about a good spec after `change`; empty where it finds nothing.
template <class Change>
std::string refusal(Change change, const HostFacts& host = kHost) {
  ContainerSpec spec = good_spec();
  change(spec);
  try {
    check_spec(spec, host);
  } catch (const Error& error) {
    CHECK(error.exit_status() == 2);
    return error.report();
  }
  return "";
}

netsetup::NicSpec nic(const std::string& name, const std::vector<std::string>& addresses = {}) {
  netsetup::NicSpec nic;
  nic.name = name;
  for (const std::string& address : addresses)
    nic.addresses.push_back(netsetup::parse_interface_address(address).value());
  return nic;
}

std::string refusal_of_addresses(const std::vector<std::string>& addresses, const HostFacts& host = kHost) {
  return refusal([&](ContainerSpec& spec) { spec.networks = {nic("eth0", addresses)}; }, host);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a good spec passes, also where nothing is known of the host") {
  CHECK(refusal([](ContainerSpec&) {}).empty());
  CHECK(refusal([](ContainerSpec& spec) { spec.limits.cpu.pin = {100}; }, HostFacts{}).empty());
}

TEST_CASE("a spec without a root file system is refused") {
  CHECK(refusal([](ContainerSpec& spec) { spec.root.template_name = ""; }) ==
        "no root file system: one of 'template' and 'root' is needed");
}

TEST_CASE("CPU settings must fit each other and the host") {
  const auto cpu = [](unsigned cap, std::optional<unsigned> count, const quotas::CpuSet& pin) {
    return refusal([&](ContainerSpec& spec) {
      spec.limits.cpu.cap_percent = cap;
      spec.limits.cpu.count = count;
      spec.limits.cpu.pin = pin;
    });
  };
  CHECK(cpu(200, 2, {0, 1}).empty());
  CHECK(cpu(0, 3, {}) == "'cpu.count' is 3, but this host has 2 CPUs");
  CHECK(cpu(0, {}, {1, 2, 3}) ==
        "'cpu.pin' names CPU 2-3, which this host does not have online\n  hint: online: 0-1");
  CHECK(cpu(0, 2, {0}) ==
        "'cpu.pin' names 1 CPU, fewer than 'cpu.count' (2)\n  hint: pin more CPUs, or lower the count");
  CHECK(contains(cpu(201, {}, {}), "'cpu.cap' is 201 percent, more than 2 CPUs can give (200)"));
  CHECK(contains(cpu(101, {}, {0}), "'cpu.cap' is 101 percent, more than 1 CPU can give (100)"));
  CHECK(contains(cpu(101, 1, {}), "'cpu.cap' is 101 percent, more than 1 CPU can give (100)"));
  CHECK(refusal([](ContainerSpec& spec) { spec.limits.cpu.weight = 0; }) ==
        "'cpu.weight' must be a whole number from 1 to 65536, not 0");
}

TEST_CASE("a barrier or guarantee above the limit is a contradiction") {
  const auto memory = [](std::optional<Bytes> limit, std::optional<Bytes> barrier,
                         std::optional<Bytes> guarantee) {
    return refusal([&](ContainerSpec& spec) { spec.limits.memory = {limit, barrier, guarantee, {}}; });
  };
  constexpr Bytes k64M{64 << 20}, k128M{128 << 20};
  CHECK(memory(k128M, k64M, k64M).empty());
  CHECK(memory(k64M, k64M, {}).empty());
  CHECK(memory(k64M, k128M, {}) == "'memory.barrier' (128 MiB) is above 'memory.limit' (64 MiB)");
  CHECK(memory(k64M, {}, k128M) == "'memory.guarantee' (128 MiB) is above 'memory.limit' (64 MiB)");
  CHECK(memory({}, k64M, k128M) == "'memory.guarantee' (128 MiB) is above 'memory.barrier' (64 MiB)");
  CHECK(contains(memory(Bytes{1024}, {}, {}), "'memory.limit' must be a size from 4M to 1024T"));
}

TEST_CASE("limits on disk I/O outside of their range are refused, whoever made the spec") {
  CHECK(contains(refusal([](ContainerSpec& spec) { spec.limits.io.weight = 0; }),
                 "'io.weight' must be a whole number from 1 to 10000, not 0"));
  CHECK(contains(refusal([](ContainerSpec& spec) { spec.limits.io.read = Bytes{1}; }),
                 "'io.read' must be a rate from 4K/s to 1024T/s, such as \"50M/s\", not 1 B"));
  CHECK(contains(refusal([](ContainerSpec& spec) { spec.limits.io.write_ops = UINT64_MAX; }),
                 "'io.write_ops' must be a whole number from 1 to 1000000000"));
}

TEST_CASE("host names are those of RFC 1123 that the kernel takes") {
  for (const char* good : {"web", "web.example.net", "1a", "a-b.c"}) CHECK(is_hostname(good));
  for (const char* bad : {"", ".", "a.", ".a", "a..b", "-a", "a-", "a b", "a_b", "a/b", "a\nb", "ä"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_hostname(bad));
  }
  CHECK(is_hostname(std::string(63, 'a')));
  CHECK_FALSE(is_hostname(std::string(62, 'a') + ".aa"));
  CHECK_FALSE(is_hostname(std::string(64, 'a')));
}

TEST_CASE("no malformed user becomes root") {
  for (const char* good : {"root", "www-data", "_apt", "a.b", "0", "65535", "1000:100", "web:33", "33:web"}) {
    CAPTURE(good);
    CHECK(is_user(good));
  }
  for (const char* bad : {"",           ":",     "a:",  ":a",     "a:b:c", "-1",          "+1", "4294967295",
                          "4294967296", "65536", "00",  "01",     "0x0",   "1e1",         " 0", "0 ",
                          "1a",         "a b",   "a/b", "root\n", "0:-1",  "0:4294967296"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_user(bad));
  }
}

TEST_CASE("nothing is mounted over the root, /dev, /proc or /sys, however it is written") {
  for (const char* good : {"/data", "/srv//data/", "/dev/shm", "/procx", "/system", "/a/proc"}) {
    CAPTURE(good);
    CHECK(is_mount_target(good));
  }
  for (const char* bad : {"", "data", "/", "//", "/.", "/..", "/a/../b", "/a/..", "/proc", "//proc",
                          "/./proc/", "/proc/1", "/sys", "/sys//fs/cgroup", "/dev", "/dev/", "/a\nb"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_mount_target(bad));
  }
  CHECK(refusal([](ContainerSpec& spec) {
          spec.mounts = {{"/a", "/data", false}, {"/b", "//data/", false}};
        }) == "two mounts have the target \"//data/\"");
}

TEST_CASE("the host's root is no container's root") {
  for (const char* bad : {"", "srv", "/", "//", "/./", "/a/../..", "/a\x01"}) {
    CAPTURE(bad);
    CHECK(contains(refusal([&](ContainerSpec& spec) {
                     spec.root = {RootKind::directory, "", bad};
                   }),
                   "'root' must be"));
  }
}

TEST_CASE("interface names are those that the kernel and sysctl can tell apart") {
  for (const char* good : {"eth0", "wan", "a.b", "123456789012345"}) CHECK(is_interface_name(good));
  for (const char* bad :
       {"", "lo", "all", "default", ".", "..", "-a", "a/b", "a b", "a:1", "1234567890123456", "%d"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_interface_name(bad));
  }
}

TEST_CASE("interfaces must differ, and host and none stand alone") {
  CHECK(refusal([](ContainerSpec& spec) {
          spec.networks = {nic("a"), nic("a")};
        }) == "two interfaces have the name \"a\"");
  CHECK(refusal([](ContainerSpec& spec) {
          spec.networks = {nic("a"), nic("b")};
          spec.networks[0].mac = spec.networks[1].mac = netsetup::parse_mac("02:00:00:00:00:01");
        }) == "two interfaces have the MAC address 02:00:00:00:00:01");
  CHECK(refusal([](ContainerSpec& spec) {
          spec.networks = {nic("a"), nic("b")}, spec.networks[1].mode = netsetup::NicMode::host;
        }) == "'network.mode = \"host\"' excludes other interfaces");
  CHECK(refusal([](ContainerSpec& spec) {
          spec.networks = {nic("a", {"10.0.0.1/24"})};
          spec.networks[0].mode = netsetup::NicMode::none;
        }) == "'network.addresses' has no meaning with mode \"none\"");
  CHECK(contains(refusal([](ContainerSpec& spec) { spec.networks.clear(); }), "'network' has no entry"));
}

TEST_CASE("an address must be one that an interface can have, once, in the bridge's subnet") {
  CHECK(refusal_of_addresses({"10.0.3.10/24", "fd00::10/64"}).empty());
  CHECK(contains(refusal_of_addresses({"127.0.0.2/8"}), "127.0.0.2/8 is a loopback address"));
  CHECK(contains(refusal_of_addresses({"::1/128"}), "is a loopback address"));
  CHECK(contains(refusal_of_addresses({"224.0.0.1/4"}), "is not a unicast address"));
  CHECK(contains(refusal_of_addresses({"ff02::1/64"}), "is not a unicast address"));
  CHECK(contains(refusal_of_addresses({"0.0.0.0/24"}), "is the unspecified address"));
  CHECK(contains(refusal_of_addresses({"10.0.3.0/24"}), "is the network itself, not an address in it"));
  CHECK(contains(refusal_of_addresses({"10.0.3.255/24"}), "is the broadcast address"));
  CHECK(refusal_of_addresses({"10.0.3.0/31", "10.0.4.0/32"}).empty());
  CHECK(contains(refusal_of_addresses({"10.0.3.1/24", "10.0.3.1/16"}),
                 "the address 10.0.3.1/16 is given twice"));
  const HostFacts host{{0, 1}, {0}, netsetup::parse_interface_address("10.88.0.0/24"), {}};
  CHECK(refusal_of_addresses({"10.88.0.7/24", "fd00::1/64"}, host).empty());
  CHECK(refusal_of_addresses({"10.0.3.10/24"}, host) ==
        "the address 10.0.3.10/24 lies outside of the bridge's subnet 10.88.0.0/24");
}

TEST_CASE("capabilities are signed and known") {
  const auto capabilities = [](const std::vector<std::string>& names) {
    return refusal([&](ContainerSpec& spec) { spec.security.capabilities = names; });
  };
  CHECK(capabilities({"+net_raw", "-mknod"}).empty());
  CHECK(contains(capabilities({"net_raw"}), "not \"net_raw\"\n  hint: did you mean \"+net_raw\"?"));
  CHECK(capabilities({"+net_rwa"}) ==
        "'security.capabilities' holds \"+net_rwa\", which is no capability\n  hint: did you mean "
        "\"+net_raw\"?");
  CHECK(capabilities({"+net_raw", "-net_raw"}) == "'security.capabilities' names \"net_raw\" twice");
  CHECK_FALSE(capabilities({"+"}).empty());
  CHECK_FALSE(capabilities({""}).empty());
}

TEST_CASE("environment names cannot hold what would end or split them") {
  for (const char* bad : {"", "A=B", "="}) CHECK_FALSE(is_environment_name(bad));
  CHECK_FALSE(is_environment_name(std::string_view("A\0B", 3)));
  CHECK(is_environment_name("PATH"));
}

TEST_CASE("several problems of a spec are told at once") {
  CHECK(refusal([](ContainerSpec& spec) {
          spec.hostname = "a b";
          spec.payload.workdir = "tmp";
          spec.resource_limits["nofil"] = 1;
        }) ==
        "'hostname' must be a host name (labels of letters, digits and '-', joined by dots, at most 64 "
        "bytes), not \"a b\"\n"
        "  also: 'workdir' must be an absolute path, not \"tmp\"\n"
        "  also: this host knows no resource limit \"nofil\"");
}
