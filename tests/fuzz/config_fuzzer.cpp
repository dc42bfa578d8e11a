// parse_config on arbitrary bytes: either an Error, or a spec that is shown and parsed again to the same one.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "runtime/config_file.h"
#include "runtime/config_show.h"

using namespace holm;
using namespace holm::runtime;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const HostFacts host = {{0, 1}, {0}, {}, {}};
  ContainerSpec spec;
  try {
    spec = parse_config({reinterpret_cast<const char*>(data), size}, "fuzz.toml", "fuzz", host);
  } catch (const Error& error) {
    if (error.exit_status() != kExitUsage || error.report().empty()) std::abort();
    return 0;
  }
  // An Error that leaves this is a finding too: what is shown must be valid.
  const std::string shown = show_spec(spec);
  const ContainerSpec again = parse_config(shown, "shown.toml", "fuzz", host);
  if (show_spec(again) != shown || to_json(again) != to_json(spec)) std::abort();
  return 0;
}
