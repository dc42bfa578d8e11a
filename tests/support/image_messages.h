// CRIU's images as messages of protobuf's whose meaning nobody here knows: for
// tests that change a number in them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/file.h"

namespace holm::test {

class ImageMessage {
 public:
  explicit ImageMessage(const std::string& text) {
    for (size_t at = 0; at < text.size();) {
      Field field;
      const uint64_t key = take_number(text, at);
      field.number = key >> 3;
      field.type = static_cast<unsigned>(key & 7);
      if (field.type == 0) field.value = take_number(text, at);
      const uint64_t size = field.type == 2   ? take_number(text, at)
                            : field.type == 1 ? 8
                            : field.type == 5 ? 4
                                              : 0;
      field.bytes = text.substr(at, size);
      at += size;
      fields_.push_back(std::move(field));
    }
  }
  std::string text() const {
    std::string all;
    for (const Field& field : fields_) {
      put_number(all, field.number << 3 | field.type);
      if (field.type == 0) put_number(all, field.value);
      if (field.type == 2) put_number(all, field.bytes.size());
      all += field.bytes;
    }
    return all;
  }
  bool has(uint64_t number) const { return find(number) != fields_.end(); }
  uint64_t number_at(uint64_t number) const { return has(number) ? find(number)->value : 0; }
  void remove(uint64_t number) {
    std::erase_if(fields_, [&](const Field& field) { return field.number == number; });
  }
  void add(uint64_t number, uint64_t value) { fields_.push_back({number, 0, value, ""}); }
  void set(uint64_t number, uint64_t value) {
    remove(number);
    add(number, value);
  }
  void set(uint64_t number, const std::string& bytes) {
    remove(number);
    fields_.push_back({number, 2, 0, bytes});
  }
  // All messages with this number in it.
  void change(uint64_t number, const std::function<void(ImageMessage&)>& body) {
    for (Field& field : fields_) {
      if (field.number != number) continue;
      ImageMessage inner(field.bytes);
      body(inner);
      field.bytes = inner.text();
    }
  }

 private:
  struct Field {
    uint64_t number = 0;
    unsigned type = 0;  // 0: a number; 2: bytes; 1 and 5: fixed ones, as bytes
    uint64_t value = 0;
    std::string bytes;
  };

  static uint64_t take_number(const std::string& text, size_t& at) {
    uint64_t number = 0;
    for (unsigned shift = 0; at < text.size() && shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(text[at++]);
      number |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return number;
  }
  static void put_number(std::string& text, uint64_t number) {
    for (; number >= 0x80; number >>= 7) text += static_cast<char>((number & 0x7f) | 0x80);
    text += static_cast<char>(number);
  }
  std::vector<Field>::const_iterator find(uint64_t number) const {
    return std::ranges::find(fields_, number, &Field::number);
  }

  std::vector<Field> fields_;
};

// Each message of an image that has nothing else in it.
inline void change_image(const std::string& path, const std::function<void(ImageMessage&)>& body) {
  const std::string text = read_file(path, size_t{1} << 30);
  uint32_t magic = 0;
  std::memcpy(&magic, text.data(), sizeof magic);
  size_t at = magic == 0x54564319 ? 8 : 4;
  std::string changed = text.substr(0, at);
  while (at < text.size()) {
    uint32_t size = 0;
    std::memcpy(&size, text.data() + at, sizeof size);
    ImageMessage message(text.substr(at + sizeof size, size));
    at += sizeof size + size;
    body(message);
    const std::string bytes = message.text();
    size = static_cast<uint32_t>(bytes.size());
    changed.append(reinterpret_cast<const char*>(&size), sizeof size);
    changed += bytes;
  }
  replace_file(path, changed);
}

// The numbers of CRIU's *.proto.
namespace criu {
enum Number : uint64_t {
  kCoreTask = 3,
  kCoreThread = 5,
  kTaskLimits = 8,
  kTaskOom = 14,
  kLimit = 1,
  kThreadNice = 3,
  kThreadPolicy = 4,
  kThreadPriority = 5,
  kThreadCredentials = 10,
  kThreadSeccompMode = 11,
  kNoNewPrivs = 18,
  kFilter = 1,
  kFilterBytes = 1,
  kMapUid = 1,
  kMapGid = 2,
  kMapOutside = 2,
  kMapCount = 3,
  kSets = 1,
  kSetMembers = 2,
  kMemberPath = 2,
  kMemberPrefix = 3,
  kInventoryIds = 3,
  kMountType = 1,
  kMountFlags = 5,
  kMountExternal = 13,
  kMountKey = 18,
  kRangeAddress = 1,
  kRangeCount = 2,
  kRangePages = 5,
  kRangeFlags = 4,
  kRangeInParent = 3,
};
}  // namespace criu

}  // namespace holm::test
