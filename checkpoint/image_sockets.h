// What images say of sockets.
#pragma once

#include <string>

namespace holm::checkpoint {

// Whether a TCP connection has data that it could not send yet, as its peer's window was full.
bool has_unsent_data(const std::string& images);

}  // namespace holm::checkpoint
