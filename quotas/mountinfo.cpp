#include "quotas/mountinfo.h"

#include <algorithm>

#include "base/text.h"

namespace holm::quotas {
namespace {

// proc(5): blank, tab, newline and backslash stand there as \ooo; in options also the comma.
std::string unescape(std::string_view text) {
  const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3])) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

}  // namespace

std::optional<MountEntry> parse_mount(std::string_view line) {
  const std::vector<std::string> fields = split(line, ' ');
  const auto dash = std::find(fields.begin(), fields.end(), "-");
  if (fields.size() < 10 || fields.end() - dash < 4) return std::nullopt;
  MountEntry mount{parse_unsigned(fields[0]).value_or(0),
                   fields[2],
                   unescape(fields[3]),
                   unescape(fields[4]),
                   *(dash + 1),
                   unescape(*(dash + 2)),
                   {}};
  for (const std::string& option : split(*(dash + 3), ',')) mount.super_options.push_back(unescape(option));
  return mount;
}

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> mounts;
  for (const std::string& line : split(text, '\n'))
    if (auto mount = parse_mount(line)) mounts.push_back(std::move(*mount));
  return mounts;
}

}  // namespace holm::quotas
