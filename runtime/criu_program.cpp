#include "runtime/criu_program.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"
#include "base/process.h"

namespace holm::runtime {

std::string criu_program() {
  if (const char* named = std::getenv("HOLM_CRIU")) {
    if (::access(named, X_OK) != 0) throw Error::system(fmt::format("run CRIU: HOLM_CRIU is '{}'", named));
    return named;
  }
  const char* prefix = std::getenv("HOLM_CRIU_PREFIX");
  const std::string own = fmt::format("{}/bin/criu", prefix ? prefix : "/opt/holm/criu");
  return ::access(own.c_str(), X_OK) == 0 ? own : find_program("criu");
}

}  // namespace holm::runtime
