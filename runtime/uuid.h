// What tells containers apart whose names and numbers are the same: one is gone, and the other was made
// later.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace holm::runtime {

// "0d5f7c2e-...": 122 random bits, as RFC 9562 has them in version 4.
std::string make_uuid();
bool is_uuid(std::string_view text);
// That of a container which was made before they had one: from its identity file's time, which neither a
// rename nor a copy that keeps times changes, and its number.
std::string derive_uuid(const std::string& identity_file, uint32_t number);

}  // namespace holm::runtime
