// What went through a link.
#pragma once

#include <cstdint>

namespace holm::netsetup {

// As one end of it counts, from 0 when the link was made.
struct Traffic {
  uint64_t received_bytes = 0;
  uint64_t received_packets = 0;
  uint64_t sent_bytes = 0;
  uint64_t sent_packets = 0;
};

}  // namespace holm::netsetup
