#include "runtime/config_file.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::runtime;

namespace {

const HostFacts kHost = {{0, 1, 2, 3}, {}, {}};

ContainerSpec parse(const std::string& text) { return parse_config(text, "web.toml", "web", kHost); }

// What a user reads about a config that must be refused; empty where it was accepted.
std::string report_of(const std::string& text) {
  try {
    parse(text);
  } catch (const Error& error) {
    CHECK(error.exit_status() == 2);
    return error.report();
  }
  return "";
}

// The same for lines in a config that is otherwise right; its first line is line 2.
std::string refusal(const std::string& lines) { return report_of("template = \"busybox\"\n" + lines); }

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string report_of_file(const std::string& path) {
  try {
    load_config(path, kHost);
  } catch (const Error& error) {
    CHECK(error.exit_status() == 2);
    return error.report();
  }
  return "";
}

}  // namespace

TEST_CASE("a config of one key is a whole system with one nat interface and no limits") {
  const ContainerSpec spec = parse("template = \"busybox\"");
  CHECK(spec.name == "web");
  CHECK(spec.hostname == "web");
  CHECK(spec.root.kind == RootKind::template_overlay);
  CHECK(spec.root.template_name == "busybox");
  CHECK(spec.payload.kind == PayloadKind::init);
  CHECK(spec.payload.arguments == std::vector<std::string>{"/sbin/init"});
  CHECK(spec.payload.user == "root");
  CHECK(spec.on_crash == OnCrash::stop);
  CHECK(spec.on_reboot == OnReboot::restart);
  CHECK(spec.limits == quotas::Limits{});
  REQUIRE(spec.networks.size() == 1);
  CHECK(spec.networks[0].mode == netsetup::NicMode::nat);
  CHECK(spec.networks[0].name == "eth0");
  CHECK(spec.security.user_namespace);
  CHECK(spec.security.migratable);
  CHECK_FALSE(spec.security.allow_io_uring);
}

TEST_CASE("every available key reaches the spec") {
  const ContainerSpec spec = parse(R"(
name = "shop"
root = "/srv/shop"
hostname = "shop.example.net"
command = ["/usr/bin/server", "-v", ""]
user = "www-data:33"
workdir = "/srv"
env = { TZ = "UTC", EMPTY = "" }
autostart = true
order = 10
on_crash = "restart"
on_reboot = "destroy"
on_host_shutdown = "stop"
[cpu]
weight = 512
cap = 150
count = 2
pin = "0-1,3"
[memory]
limit = "512M"
barrier = 469762048
guarantee = "128M"
swap = "0"
[pids]
limit = 512
[io]
weight = 200
read = "50MB/s"
write = "1.5M/s"
read_ops = 2000
write_ops = 1
[[network]]
mode = "nat"
name = "wan"
mac = "02:00:00:00:00:01"
addresses = ["10.0.3.10/24", "fd00::10/64"]
[[network]]
[[mount]]
source = "/srv/data"
target = "/data"
readonly = true
[security]
user_namespace = false
capabilities = ["+net_raw", "-mknod"]
seccomp = "default"
io_uring = true
migratable = false
[limits]
nofile = 65536
core = "unlimited"
memlock = "8M"
)");
  CHECK(spec.name == "shop");
  CHECK(spec.root.kind == RootKind::directory);
  CHECK(spec.root.directory == "/srv/shop");
  CHECK(spec.hostname == "shop.example.net");
  CHECK(spec.payload.kind == PayloadKind::command);
  CHECK(spec.payload.arguments == std::vector<std::string>{"/usr/bin/server", "-v", ""});
  CHECK(spec.payload.user == "www-data:33");
  CHECK(spec.payload.workdir == "/srv");
  CHECK(spec.payload.environment == std::map<std::string, std::string>{{"TZ", "UTC"}, {"EMPTY", ""}});
  CHECK(spec.autostart);
  CHECK(spec.order == 10);
  CHECK(spec.on_crash == OnCrash::restart);
  CHECK(spec.on_reboot == OnReboot::destroy);
  CHECK(spec.limits.cpu.weight == 512);
  CHECK(spec.limits.cpu.cap_percent == 150);
  CHECK(spec.limits.cpu.count == 2U);
  CHECK(spec.limits.cpu.pin == quotas::CpuSet{0, 1, 3});
  CHECK(spec.limits.memory.limit == Bytes{512ULL << 20});
  CHECK(spec.limits.memory.barrier == Bytes{448ULL << 20});
  CHECK(spec.limits.memory.guarantee == Bytes{128ULL << 20});
  CHECK(spec.limits.memory.swap == Bytes{0});
  CHECK(spec.limits.pids == 512U);
  CHECK(spec.limits.io == quotas::IoLimits{200, Bytes{50ULL << 20}, Bytes{3ULL << 19}, 2000, 1, {}});
  REQUIRE(spec.networks.size() == 2);
  CHECK(spec.networks[0].name == "wan");
  CHECK(netsetup::format_mac(spec.networks[0].mac.value()) == "02:00:00:00:00:01");
  REQUIRE(spec.networks[0].addresses.size() == 2);
  CHECK(netsetup::format_interface_address(spec.networks[0].addresses[1]) == "fd00::10/64");
  CHECK(spec.networks[1].name == "eth1");
  REQUIRE(spec.mounts.size() == 1);
  CHECK(spec.mounts[0].source == "/srv/data");
  CHECK(spec.mounts[0].target == "/data");
  CHECK(spec.mounts[0].readonly);
  CHECK_FALSE(spec.security.user_namespace);
  CHECK(spec.security.capabilities == std::vector<std::string>{"+net_raw", "-mknod"});
  CHECK(spec.security.allow_io_uring);
  CHECK_FALSE(spec.security.migratable);
  CHECK(spec.resource_limits ==
        isolation::ResourceLimits{{"nofile", 65536}, {"core", RLIM_INFINITY}, {"memlock", 8 << 20}});
}

TEST_CASE("an unknown key is named with its place and the key that was likely meant") {
  CHECK(refusal("memmory = 3") ==
        "config: unknown key 'memmory'\n  at:   web.toml:2:1\n  hint: did you mean 'memory'?");
  CHECK(refusal("[cpu]\n  wieght = 3") ==
        "config: unknown key 'cpu.wieght'\n  at:   web.toml:3:3\n  hint: did you mean 'cpu.weight'?");
  CHECK(refusal("[[network]]\nmode = \"nat\"\nadresses = []") ==
        "config: unknown key 'network.adresses'\n  at:   web.toml:4:1\n  hint: did you mean "
        "'network.addresses'?");
  CHECK(refusal("[limits]\nnofil = 3") ==
        "config: unknown key 'limits.nofil'\n  at:   web.toml:3:1\n  hint: did you mean 'limits.nofile'?");
  CHECK(refusal("zzzzzz = 1") == "config: unknown key 'zzzzzz'\n  at:   web.toml:2:1");
  CHECK(contains(refusal("\"cpu.weight\" = 1"), "unknown key 'cpu.weight'"));
}

TEST_CASE("a key that stands in the wrong section is told where it belongs") {
  CHECK(refusal("[cpu]\ncap = 5\ncommand = [\"true\"]") ==
        "config: unknown key 'cpu.command'\n  at:   web.toml:4:1\n  hint: 'command' belongs at the top of "
        "the file, "
        "before the first [section]");
  CHECK(contains(refusal("weight = 5"), "hint: 'weight' belongs in [cpu]"));
  CHECK(contains(refusal("limit = 5"), "hint: 'limit' belongs in [memory] or [pids]"));
}

TEST_CASE("a control character in an unknown key cannot reach the terminal") {
  CHECK(contains(refusal("\"a\\u001b[31m\" = 1"), "unknown key 'a\\x1b[31m'"));
}

TEST_CASE("a value of the wrong type is named with what is allowed, at its own place") {
  CHECK(refusal("[cpu]\nweight = \"heavy\"") ==
        "config: 'cpu.weight' must be a whole number from 1 to 65536, not a string\n  at:   web.toml:3:10");
  CHECK(refusal("[cpu]\ncap = \"50\"") ==
        "config: 'cpu.cap' must be a whole number of percent of one CPU, 0 for none, not a string\n  at:   "
        "web.toml:3:7\n"
        "  hint: leave the quotes out: cap = 50");
  CHECK(contains(refusal("cpu = 5"),
                 "'cpu' must be a table, not a whole number\n  at:   web.toml:2:7\n  hint: write [cpu] on"));
  CHECK(
      contains(refusal("command = \"nginx\""),
               "'command' must be a list of strings, the program first, not a string\n  at:   web.toml:2:11\n"
               "  hint: write a list: command = [\"nginx\"]"));
  CHECK(contains(refusal("user = 33"), "hint: put it in quotes: user = \"33\""));
  CHECK(contains(refusal("autostart = \"true\""), "'autostart' must be true or false, not a string"));
  CHECK(contains(refusal("cpu.weight = 1.5"), "not a number with a fraction"));
  CHECK(contains(refusal("name = 2020-01-01"), "not a date or time"));
  CHECK(contains(refusal("memory.limit = [1]"), "not a list"));
  CHECK(contains(refusal("command = [\"a\", 5]"), "web.toml:2:17"));
  CHECK(contains(refusal("env = { A = 5 }"), "not one that holds a whole number\n  at:   web.toml:2:13"));
}

TEST_CASE("[network] with single brackets is told how to write it") {
  CHECK(contains(
      refusal("[network]\nmode = \"nat\""),
      "'network' must be a list of tables, not a table\n  at:   web.toml:2:1\n  hint: write [[network]]"));
}

TEST_CASE("values out of range say what the range is") {
  CHECK(refusal("[cpu]\nweight = 0") ==
        "config: 'cpu.weight' must be a whole number from 1 to 65536, not 0\n  at:   web.toml:3:10");
  for (const char* bad :
       {"cpu.weight = 65537", "cpu.cap = -1", "cpu.count = 0", "pids.limit = 0", "order = -1",
        "order = 65536", "cpu.weight = 9223372036854775807", "limits.nofile = -1", "limits.rtprio = 100"}) {
    CAPTURE(bad);
    CHECK(contains(refusal(bad), "must be a whole number"));
  }
  for (const char* bad : {"\"3M\"", "0", "-1", "\"12X\"", "\"-5M\"", "\"\"", "\"9999999T\"", "true"}) {
    CAPTURE(bad);
    CHECK(contains(refusal(std::string("memory.limit = ") + bad),
                   "'memory.limit' must be a size from 4M to 1024T"));
  }
  CHECK(refusal("memory.limit = \"4M\"").empty());
  for (const char* bad : {"\"\"", "\"a\"", "\"1-\"", "\"3-1\"", "\"-1\"", "\"0,,1\""}) {
    CAPTURE(bad);
    CHECK(
        contains(refusal(std::string("cpu.pin = ") + bad), "'cpu.pin' must be a string with a list of CPUs"));
  }
  CHECK(contains(
      refusal("on_crash = \"restrat\""),
      "'on_crash' must be \"restart\", \"stop\" or \"destroy\", not \"restrat\"\n  at:   web.toml:2:12\n"
      "  hint: did you mean \"restart\"?"));
}

TEST_CASE("rates have a unit, are strings and not too small to live with") {
  CHECK(refusal("[io]\nread = \"50M\"") ==
        "config: 'io.read' must be a rate from 4K/s to 1024T/s, such as \"50M/s\", not \"50M\"\n  at:   "
        "web.toml:3:8\n  hint: write read = \"50M/s\"");
  CHECK(
      contains(refusal("io.write = 1000000"),
               "not a whole number\n  at:   web.toml:2:12\n  hint: put it in quotes, with its unit: write = "
               "\"1000000/s\""));
  for (const char* bad : {"\"4095/s\"", "\"0/s\"", "\"-1M/s\"", "\"fast\"", "\"2000T/s\"", "true"}) {
    CAPTURE(bad);
    CHECK(contains(refusal(std::string("io.write = ") + bad),
                   "'io.write' must be a rate from 4K/s to 1024T/s"));
  }
  CHECK(contains(refusal("io.read_ops = 0"), "'io.read_ops' must be a whole number from 1 to 1000000000"));
  CHECK(contains(refusal("io.weight = 10001"), "'io.weight' must be a whole number from 1 to 10000"));
  CHECK(refusal("io.read = \"4K/s\"").empty());
}

TEST_CASE("what shall be saved when the host goes down must be made for that") {
  CHECK(refusal("on_host_shutdown = \"checkpoint\"").empty());
  CHECK(contains(refusal("on_host_shutdown = \"checkpoint\"\n[security]\nmigratable = false"),
                 "'on_host_shutdown = \"checkpoint\"' needs 'security.migratable = true'"));
  CHECK(contains(refusal("on_host_shutdown = \"save\""), "\"stop\" or \"checkpoint\""));
}

TEST_CASE("keys and values of later versions are refused by name, never ignored") {
  CHECK(refusal("[disk]\nsize = \"10G\"") ==
        "config: 'disk.size' is not available in this version\n  at:   web.toml:3:1");
  CHECK(report_of("image = \"disk.img\"") ==
        "config: 'image' is not available in this version\n  at:   web.toml:1:1");
  CHECK(contains(refusal("security.seccomp = \"none\""),
                 "'security.seccomp = \"none\"' is not available in this version"));
  CHECK(contains(refusal("[[device]]\npath = \"/dev/fuse\""), "'device' is not available in this version"));
  for (const char* mode : {"bridge", "routed", "macvlan", "phys"})
    CHECK(contains(refusal(std::string("[[network]]\nmode = \"") + mode + "\""),
                   std::string("'network.mode = \"") + mode + "\"' is not available in this version"));
}

TEST_CASE("all mistakes of a file are told at once, in the file's order") {
  CHECK(report_of("tmplate = \"x\"\n[cpu]\nweight = 0\nwieght = 1") ==
        "config: unknown key 'tmplate'\n  at:   web.toml:1:1\n  hint: did you mean 'template'?\n"
        "  also: web.toml:3:10: 'cpu.weight' must be a whole number from 1 to 65536, not 0\n"
        "  also: web.toml:4:1: unknown key 'cpu.wieght' (did you mean 'cpu.weight'?)\n"
        "  also: web.toml: no root file system: one of 'template' and 'root' is needed (add template = "
        "\"busybox\")");
}

TEST_CASE("a file with very many mistakes says how many are not shown") {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "key" + std::to_string(i) + " = 1\n";
  CHECK(contains(refusal(text), "also: 24 more"));
}

TEST_CASE("what is not TOML is told with its place and how to write it") {
  CHECK(contains(refusal("memory.limit = 512M"), "config: not valid TOML"));
  CHECK(contains(refusal("memory.limit = 512M"), "hint: put text and sizes in quotes"));
  CHECK(contains(refusal("hostname = web"), "at:   web.toml:2:12\n  hint: put text in quotes"));
  CHECK(contains(refusal("hostname = \"web"), "hint: a quote or bracket is not closed"));
  CHECK(contains(refusal("hostname = \"web\nuser = 5"), "hint: close the quotes on the same line"));
  CHECK(contains(refusal("hostname = \"a\"\nhostname = \"b\""),
                 "config: key 'hostname' is set twice\n  at:   web.toml:3:"));
  CHECK(contains(refusal("[cpu]\n[cpu]"), "config: key 'cpu' is set twice\n  at:   web.toml:3:1"));
  CHECK(contains(refusal("a = \"\xff\""), "the file is not UTF-8 text"));
  CHECK(contains(refusal("on_crash restart"), "hint: a line is: key = value"));
}

TEST_CASE("a table header without a name is refused, and does not trip the parser's own assertions") {
  for (const char* header : {"[[[network]]]", "[[=]]", "[[[]]", "[[ [a]]"}) {
    CAPTURE(std::string(header));
    CHECK(refusal(std::string("[cpu]\n") + header + "\n") ==
          "config: not valid TOML: a table header without a name\n  at:   web.toml:3:1\n"
          "  hint: a header is [name] or [[name]]");
  }
}

TEST_CASE("letters beyond ASCII are text like any other, and an error outside of quotes") {
  CHECK(parse("template = \"b\"\ncommand = [\"\"\"\\\n\u00a7 \u00e4\"\"\"]").payload.arguments ==
        std::vector<std::string>{"\u00a7 \u00e4"});
  for (const char* line : {"hostname = \u00e4", "\u00e4 = 1", "[\u00e4]", "x = [\u00e4]", "x = 1 \u00a7"}) {
    CAPTURE(std::string(line));
    CHECK(contains(refusal(line), "config: not valid TOML"));
  }
}

TEST_CASE("a key of very many parts is refused, and does not overflow the stack") {
  std::string deep = "a";
  for (int i = 0; i < 400000; ++i) deep += ".a";
  CHECK(report_of(deep + " = 1") == "config: a key has more than 9 parts\n  at:   web.toml:1:18");
  CHECK(contains(report_of("x = { y = \"\"\"a\"\"\"\"\", " + deep + " = 1 }"), "more than 9 parts"));
  CHECK(contains(report_of("x = '''a''''' # '\n" + deep + " = 1"), "more than 9 parts"));
  CHECK_FALSE(contains(report_of("x = \"" + deep + "\""), "more than 9 parts"));
  CHECK(contains(report_of("x = " + std::string(400000, '[')), "not valid TOML"));
}

TEST_CASE("NUL bytes are refused wherever a string can be") {
  for (const char* line : {"command = [\"a\\u0000b\"]", "env = { A = \"\\u0000\" }", "hostname = \"\\u0000\"",
                           "root = \"/a\\u0000\""}) {
    CAPTURE(line);
    CHECK(contains(refusal(line), "holds a NUL byte"));
  }
  CHECK(contains(refusal("env = { \"A\\u0000\" = \"x\" }"), "is not a name for 'env'"));
}

TEST_CASE("keys that exclude each other are a contradiction") {
  CHECK(contains(refusal("root = \"/srv\""),
                 "'template' and 'root' contradict each other\n  at:   web.toml:2:8"));
  CHECK(contains(refusal("command = [\"a\"]\ninit = \"/b\""),
                 "'command' and 'init' contradict each other\n  at:   web.toml:3:8"));
  CHECK(contains(report_of("user = \"a\""), "no root file system: one of 'template' and 'root' is needed"));
}

TEST_CASE("a mount needs both of its paths") {
  CHECK(refusal("[[mount]]\nsource = \"/a\"") == "config: a [[mount]] lacks 'target'\n  at:   web.toml:2:1");
  CHECK(refusal("[[mount]]\ntarget = \"/a\"") == "config: a [[mount]] lacks 'source'\n  at:   web.toml:2:1");
}

TEST_CASE("an address that is none is told at its own place") {
  for (const char* bad : {"10.0.0.1", "10.0.0.1/33", "fd00::1/129", "10.0.0/24", "x", ""}) {
    CAPTURE(bad);
    const std::string report =
        refusal(std::string("[[network]]\naddresses = [\"10.0.3.2/24\", \"") + bad + "\"]");
    CHECK(contains(report, std::string("'network.addresses' holds \"") + bad +
                               "\", which is no address with prefix length"));
    CHECK(contains(report, "at:   web.toml:3:29"));
  }
}

TEST_CASE("a container is named after its file, where that is a name") {
  const test::TemporaryDirectory directory;
  const auto write = [&](const std::string& name) {
    std::ofstream(directory.path() + "/" + name) << "template = \"busybox\"\n";
    return directory.path() + "/" + name;
  };
  const ConfigFile file = load_config(write("web-1.toml"), kHost);
  CHECK(file.spec.name == "web-1");
  CHECK(file.text == "template = \"busybox\"\n");
  CHECK(load_config(write("plain"), kHost).spec.name == "plain");
  const std::string bad = write("my web.toml");
  CHECK(report_of_file(bad) ==
        "config: 'name' must be a DNS label (1 to 63 letters, digits and '-', no '-' at the ends), not \"my "
        "web\"\n  at:   " +
            bad + "\n  hint: the name comes from the file's name; add name = \"...\" to it");
}

TEST_CASE("what is not a readable file of sensible size is refused at once") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/web.toml";
  CHECK(contains(report_of_file(path), "config file '" + path + "': not found\n  hint: check the path"));
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  CHECK(report_of_file(path) == "config file '" + path + "': is a FIFO, not a regular file");
  CHECK(report_of_file(directory.path()) ==
        "config file '" + directory.path() + "': is a directory, not a regular file");
  const std::string large = directory.path() + "/large.toml";
  std::ofstream(large) << std::string((1 << 20) + 1, '#');
  CHECK(report_of_file(large) == "config file '" + large + "': larger than 1 MiB");
}
