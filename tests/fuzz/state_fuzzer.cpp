// state.json and an encoded Error, as a process that was killed, or a disk, may leave them: refused or read,
// never a crash.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "runtime/state.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  holm::ignore_errors([&] {  // a damaged file is an Error
    const holm::runtime::State state = holm::runtime::decode_state(text);
    // What was read is written and read again alike.
    if (holm::runtime::encode_state(holm::runtime::decode_state(holm::runtime::encode_state(state))) !=
        holm::runtime::encode_state(state))
      __builtin_trap();
  });
  static_cast<void>(holm::Error::decode(text).report());
  return 0;
}
