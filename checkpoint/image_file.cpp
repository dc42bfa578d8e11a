#include "checkpoint/image_file.h"

#include <fmt/core.h>

#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kMaxImage = 64 << 20;
// Images and notes on the work have a number of their own first and then that of their kind; the inventory
// has that alone.
constexpr uint32_t kCommonMagic = 0x54564319, kServiceMagic = 0x55105940;

uint32_t number_at(const std::string& text, size_t at) {
  uint32_t number = 0;
  std::memcpy(&number, text.data() + at, sizeof number);
  return number;
}

}  // namespace

ImageFile read_image(const std::string& path) {
  const std::string text = read_file(path, kMaxImage);
  const auto damaged = [&] { return Error(fmt::format("'{}' is no image of CRIU's", path)); };
  if (text.size() < sizeof kCommonMagic) throw damaged();
  const uint32_t first = number_at(text, 0);
  const bool has_kind = first == kCommonMagic || first == kServiceMagic;
  const size_t head = (has_kind ? 2 : 1) * sizeof first;
  if (text.size() < head) throw damaged();
  ImageFile image{text.substr(0, head), {}};
  for (size_t at = head; at < text.size();) {
    if (text.size() - at < sizeof(uint32_t)) throw damaged();
    const uint32_t size = number_at(text, at);
    at += sizeof size;
    if (text.size() - at < size) throw damaged();
    image.messages.push_back(text.substr(at, size));
    at += size;
  }
  return image;
}

void write_image(const std::string& path, const ImageFile& image) {
  std::string text = image.head;
  for (const std::string& message : image.messages) {
    const auto size = static_cast<uint32_t>(message.size());
    text.append(reinterpret_cast<const char*>(&size), sizeof size);
    text += message;
  }
  replace_file(path, text);
}

}  // namespace holm::checkpoint
