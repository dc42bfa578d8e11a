// The cell in which hostile archives are read.
#pragma once

#include <cstdint>

namespace holm::unpack {

// Leaves this process with: descriptors 0 to 3; the directory `target` as its root; the capabilities to set
// owners, modes and file capabilities, and no others for good; bounded memory and file size; and the system
// calls that an unpacker needs, so that it can neither run nor load a program, nor open a socket. Throws
// where any of it fails.
// `with_trusted`: also the right to set trusted.* attributes, and none of the ioctl(2) calls that go with
// that right.
void confine(int target, uint64_t max_bytes, bool with_trusted);

}  // namespace holm::unpack
