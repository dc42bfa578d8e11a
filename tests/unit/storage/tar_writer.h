// Hand-made tar archives, so that tests can write what no decent program would.
#pragma once

#include <fmt/core.h>

#include <cstring>
#include <string>
#include <string_view>

namespace holm::test {

struct TarEntry {
  std::string name;
  char type =
      '0';  // '0' file, '1' hard link, '2' symbolic link, '3' and '4' devices, '5' directory, '6' FIFO
  std::string content;
  std::string link;
  uint64_t uid = 0;
  uint64_t gid = 0;
  unsigned mode = 0755;
};

class TarWriter {
 public:
  TarWriter& add(const TarEntry& entry) {
    put_header(entry, entry.content.size());
    put_padded(entry.content);
    return *this;
  }
  TarWriter& directory(const std::string& name) { return add({.name = name, .type = '5'}); }
  TarWriter& file(const std::string& name, const std::string& content) {
    return add({.name = name, .content = content, .mode = 0644});
  }
  TarWriter& symbolic_link(const std::string& name, const std::string& target) {
    return add({.name = name, .type = '2', .link = target, .mode = 0777});
  }
  TarWriter& hard_link(const std::string& name, const std::string& target) {
    return add({.name = name, .type = '1', .link = target});
  }
  // A pax record for the next entry: "SCHILY.xattr.user.x" = "y".
  TarWriter& pax(const std::string& key, const std::string& value) {
    std::string record = fmt::format(" {}={}\n", key, value);
    size_t length = record.size() + 1;
    while (fmt::format("{}", length).size() + record.size() != length) ++length;
    return add({.name = "pax", .type = 'x', .content = fmt::format("{}{}", length, record)});
  }
  // Claims a size without having the content.
  TarWriter& header_only(const TarEntry& entry, uint64_t size) {
    put_header(entry, size);
    return *this;
  }
  std::string finished() const { return text_ + std::string(1024, '\0'); }
  std::string unfinished() const { return text_; }

 private:
  void put_header(const TarEntry& entry, uint64_t size) {
    char block[512] = {};
    const auto put = [&](size_t at, size_t length, std::string_view value) {
      std::memcpy(block + at, value.data(), std::min(length, value.size()));
    };
    put(0, 100, entry.name);
    put(100, 8, fmt::format("{:07o}", entry.mode));
    put_number(block + 108, 8, entry.uid);
    put_number(block + 116, 8, entry.gid);
    put_number(block + 124, 12, size);
    put(136, 12, fmt::format("{:011o}", 1'700'000'000));
    block[156] = entry.type;
    put(157, 100, entry.link);
    put(257, 8, std::string_view("ustar\00000", 8));
    put(329, 16, "0000001");
    std::memset(block + 148, ' ', 8);
    unsigned sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    put(148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
    text_.append(block, sizeof block);
  }
  // Octal where it fits, else the base-256 form.
  static void put_number(char* field, size_t length, uint64_t value) {
    const std::string octal = fmt::format("{:0{}o}", value, length - 1);
    if (octal.size() < length) {
      std::memcpy(field, octal.data(), octal.size());
      return;
    }
    const bool negative = value >> 63 != 0;
    std::memset(field, negative ? 0xff : 0, length);
    for (size_t i = 0; i < 8 && i < length; ++i) field[length - 1 - i] = static_cast<char>(value >> (8 * i));
    field[0] = static_cast<char>(negative ? 0xff : 0x80);
  }
  void put_padded(const std::string& content) {
    text_ += content;
    text_.append((512 - content.size() % 512) % 512, '\0');
  }

  std::string text_;
};

}  // namespace holm::test
