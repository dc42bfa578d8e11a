#include "runtime/config_show.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "runtime/config_file.h"
#include "runtime/config_keys.h"

using namespace holm;
using namespace holm::runtime;

namespace {

const HostFacts kHost = {{0, 1, 2, 3}, {}, {}};

ContainerSpec parse(const std::string& text) { return parse_config(text, "web.toml", "web", kHost); }

const char* const kEverything = R"(
name = "shop"
root = "/srv/shop"
command = ["/bin/sh", "-c", "echo \"a\\b\"\n\t\u0001\u007f ä"]
user = "www-data:33"
env = { "odd name.[x]" = "1", TZ = "UTC" }
on_crash = "destroy"
cpu.cap = 150
cpu.count = 2
cpu.pin = "0-1,3"
memory.limit = "512M"
memory.barrier = 469762049
memory.swap = 0
pids.limit = 512
io.weight = 150
io.read = "50M/s"
io.write = "4097/s"
io.write_ops = 300
[[network]]
name = "wan"
mac = "02:00:00:00:00:01"
addresses = ["10.0.3.10/24", "fd00::10/64"]
[[network]]
[[mount]]
source = "/srv/data"
target = "/data"
[security]
capabilities = ["+net_raw", "-mknod"]
[limits]
nofile = 65536
core = "unlimited"
)";

// A line that sets `key` to its default or example in a config that is otherwise right.
std::string config_with(const ConfigKey& key) {
  const std::string value(key.default_value.empty() ? key.example : key.default_value);
  const std::string_view section = section_of(key.path);
  const std::string line = std::string(last_part(key.path)) + " = " + value + "\n";
  const std::string root = key.path == "root" || key.path == "template" ? "" : "template = \"busybox\"\n";
  if (section.empty()) return root + line;
  const bool is_list = container_keys().find_section(section)->kind == ConfigSection::Kind::list;
  std::string text = root + (is_list ? "[[" : "[") + std::string(section) + (is_list ? "]]\n" : "]\n") + line;
  if (key.path == "mount.source" || key.path == "mount.readonly") text += "target = \"/data\"\n";
  if (key.path == "mount.target" || key.path == "mount.readonly") text += "source = \"/srv\"\n";
  return text;
}

}  // namespace

TEST_CASE("the shown defaults are themselves a config, and make the default spec") {
  const std::string defaults = show_defaults();
  CHECK(show_spec(parse(defaults)) == show_spec(parse("template = \"busybox\"")));
  for (const ConfigKey& key : container_keys().keys) {
    CAPTURE(key.path);
    CHECK(defaults.find(std::string(last_part(key.path)) + " = ") != std::string::npos);
    CHECK(defaults.find(key.meaning) != std::string::npos);
  }
}

TEST_CASE("every key takes its own default or example, or is refused by name as of a later version") {
  for (const ConfigKey& key : container_keys().keys) {
    CAPTURE(key.path);
    std::string report;
    try {
      parse(config_with(key));
    } catch (const Error& error) {
      report = error.report();
    }
    if (key.availability == Availability::now) {
      CHECK(report == "");
    } else {
      const std::string name(section_of(key.path) == "device" ? "device" : key.path);
      CHECK(report.find("'" + name + "' is not available in this version") != std::string::npos);
    }
  }
}

TEST_CASE("the resource limits of the key table are those of the system") {
  std::vector<std::string> ours;
  for (const ConfigKey& key : container_keys().keys)
    if (section_of(key.path) == "limits") ours.emplace_back(last_part(key.path));
  std::vector<std::string> theirs;
  for (const std::string_view name : isolation::resource_limit_names()) theirs.emplace_back(name);
  std::ranges::sort(ours);
  std::ranges::sort(theirs);
  CHECK(ours == theirs);
}

TEST_CASE("a shown spec parses to the same spec") {
  const ContainerSpec spec = parse(kEverything);
  const std::string shown = show_spec(spec);
  CAPTURE(shown);
  const ContainerSpec again = parse(shown);
  CHECK(show_spec(again) == shown);
  CHECK(to_json(again) == to_json(spec));
  CHECK(again.payload.arguments == spec.payload.arguments);
  CHECK(again.payload.environment == spec.payload.environment);
  CHECK(again.limits == spec.limits);
  CHECK(again.resource_limits == spec.resource_limits);
}

TEST_CASE("the JSON of a spec has every key, with null for what is not set") {
  const auto json = nlohmann::json::parse(to_json(parse(kEverything)));
  CHECK(json["name"] == "shop");
  CHECK(json["template"].is_null());
  CHECK(json["root"] == "/srv/shop");
  CHECK(json["payload"]["kind"] == "command");
  CHECK(json["payload"]["env"]["TZ"] == "UTC");
  CHECK(json["cpu"]["pin"] == "0-1,3");
  CHECK(json["memory"]["limit"] == 536870912);
  CHECK(json["memory"]["guarantee"].is_null());
  CHECK(json["memory"]["swap"] == 0);
  CHECK(json["io"]["weight"] == 150);
  CHECK(json["io"]["read"] == 52428800);
  CHECK(json["io"]["write"] == 4097);
  CHECK(json["io"]["read_ops"].is_null());
  CHECK(json["io"]["write_ops"] == 300);
  CHECK(json["network"][0]["addresses"][1] == "fd00::10/64");
  CHECK(json["network"][1]["mac"].is_null());
  CHECK(json["mount"][0]["readonly"] == false);
  CHECK(json["limits"]["core"] == "unlimited");
  CHECK(json["limits"]["nofile"] == 65536);
  CHECK(nlohmann::json::parse(to_json(parse("template = \"busybox\"")))["payload"]["env"].is_object());
}

TEST_CASE("text that is not UTF-8 does not break the JSON") {
  ContainerSpec spec = parse("template = \"busybox\"");
  spec.payload.arguments = {"\xff"};
  CHECK(nlohmann::json::accept(to_json(spec)));
}
