#include "checkpoint/image_file.h"

#include <fmt/core.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/file.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kMaxImage = 64 << 20;
constexpr size_t kMaxFirst = 64 << 10;
// Images and notes on the work have a number of their own first and then that of their kind; the inventory
// has that alone.
constexpr uint32_t kCommonMagic = 0x54564319, kServiceMagic = 0x55105940;

uint32_t number_at(const std::string& text, size_t at) {
  uint32_t number = 0;
  std::memcpy(&number, text.data() + at, sizeof number);
  return number;
}

Error no_image(const std::string& path) { return Error(fmt::format("'{}' is no image of CRIU's", path)); }

// How long the magic numbers are that `text` begins with.
size_t head_size(const std::string& text, const std::string& path) {
  if (text.size() < sizeof kCommonMagic) throw no_image(path);
  const uint32_t first = number_at(text, 0);
  const bool has_kind = first == kCommonMagic || first == kServiceMagic;
  const size_t head = (has_kind ? 2 : 1) * sizeof first;
  if (text.size() < head) throw no_image(path);
  return head;
}

// The message at `at`, which is moved behind it.
std::string take_message(const std::string& text, size_t& at, const std::string& path) {
  if (text.size() - at < sizeof(uint32_t)) throw no_image(path);
  const uint32_t size = number_at(text, at);
  at += sizeof size;
  if (text.size() - at < size) throw no_image(path);
  at += size;
  return text.substr(at - size, size);
}

}  // namespace

ImageFile read_image(const std::string& path) {
  const std::string text = read_file(path, kMaxImage);
  size_t at = head_size(text, path);
  ImageFile image{text.substr(0, at), {}};
  while (at < text.size()) image.messages.push_back(take_message(text, at, path));
  return image;
}

std::string read_first_message(const std::string& path) {
  std::string text(kMaxFirst, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  size_t at = head_size(text, path);
  return take_message(text, at, path);
}

std::string encode_image(const ImageFile& image) {
  std::string text = image.head;
  for (const std::string& message : image.messages) {
    const auto size = static_cast<uint32_t>(message.size());
    text.append(reinterpret_cast<const char*>(&size), sizeof size);
    text += message;
  }
  return text;
}

void write_image(const std::string& path, const ImageFile& image) { replace_file(path, encode_image(image)); }

}  // namespace holm::checkpoint
