// Which CRIU this host has for Holm.
#pragma once

#include <string>

namespace holm::runtime {

// HOLM_CRIU, the one below the prefix that scripts/setup fills (HOLM_CRIU_PREFIX, /opt/holm/criu), or PATH's;
// empty where there is none. Throws where HOLM_CRIU names what cannot be executed.
std::string criu_program();

}  // namespace holm::runtime
