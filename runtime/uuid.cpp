#include "runtime/uuid.h"

#include <fmt/core.h>
#include <sys/random.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/sys.h"

namespace holm::runtime {
namespace {

using Bits = std::array<uint8_t, 16>;

std::string format(Bits bits, unsigned version) {
  bits[6] = static_cast<uint8_t>((bits[6] & 0x0f) | (version << 4));
  bits[8] = static_cast<uint8_t>((bits[8] & 0x3f) | 0x80);
  std::string out;
  for (size_t i = 0; i < bits.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += fmt::format("{:02x}", bits[i]);
  }
  return out;
}

}  // namespace

std::string make_uuid() {
  Bits bits;
  // So few bytes come whole, once the kernel has any (getrandom(2)).
  while (::getrandom(bits.data(), bits.size(), 0) != static_cast<ssize_t>(bits.size()))
    if (errno != EINTR) throw Error::system("ask for random numbers");
  return format(bits, 4);
}

bool is_uuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
    const std::string_view allowed = is_dash ? "-" : "0123456789abcdef";
    if (allowed.find(text[i]) == std::string_view::npos) return false;
  }
  return true;
}

std::string derive_uuid(const std::string& identity_file, uint32_t number) {
  const auto status = sys::stat_path(identity_file);
  if (!status) throw Error::system(ENOENT, fmt::format("look at '{}'", identity_file));
  const auto seconds = static_cast<uint64_t>(status->st_mtim.tv_sec);
  const auto nanoseconds = static_cast<uint64_t>(status->st_mtim.tv_nsec);
  Bits bits = {};
  for (size_t i = 0; i < 6; ++i) bits[i] = static_cast<uint8_t>(seconds >> (8 * i));
  for (size_t i = 0; i < 4; ++i) bits[9 + i] = static_cast<uint8_t>(nanoseconds >> (8 * i));
  for (size_t i = 0; i < 3; ++i) bits[13 + i] = static_cast<uint8_t>(number >> (8 * i));
  return format(bits, 8);
}

}  // namespace holm::runtime
