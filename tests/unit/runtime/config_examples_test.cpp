#include <doctest/doctest.h>

#include <filesystem>

#include "runtime/config_file.h"

using namespace holm;
using namespace holm::runtime;

namespace {

// From this file's own place: examples/ at the top of the source tree.
std::filesystem::path examples() {
  return std::filesystem::path(__FILE__).parent_path().parent_path().parent_path().parent_path() / "examples";
}

ContainerSpec example(const std::string& name) {
  return load_config(examples() / (name + ".toml"), HostFacts{{0, 1}, {0}, {}, {}}).spec;
}

}  // namespace

TEST_CASE("every example is a valid config") {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(examples())) {
    if (entry.path().extension() != ".toml") continue;
    CAPTURE(entry.path().string());
    CHECK_NOTHROW(load_config(entry.path(), HostFacts{{0, 1}, {0}, {}, {}}));
    ++count;
  }
  CHECK(count >= 7);
}

TEST_CASE("the examples show what their comments promise") {
  CHECK(example("hello").payload.kind == PayloadKind::command);
  CHECK(example("web").limits.memory.limit == Bytes{64 << 20});
  CHECK(example("web").networks[0].mode == netsetup::NicMode::nat);
  CHECK(example("capped").limits.cpu.cap_percent == 25);
  CHECK(example("system").payload.arguments == std::vector<std::string>{"/sbin/init"});
  CHECK(example("debian-web").root.template_name == "debian");
  CHECK(example("heavy").limits.cpu.weight == 2 * example("light").limits.cpu.weight);
  CHECK(example("heavy").limits.cpu.pin == quotas::CpuSet{0});
  CHECK(example("light").limits.cpu.pin == quotas::CpuSet{0});
}
