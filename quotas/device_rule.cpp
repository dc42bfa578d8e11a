// The device allow-list, and its form in cgroup v1.
#include "quotas/device_rule.h"

#include <fmt/core.h>

#include "base/error.h"
#include "base/text.h"
#include "quotas/device_lines.h"

namespace holm::quotas {
namespace {

std::string number_or_star(const std::optional<unsigned>& number) {
  return number ? fmt::format("{}", *number) : "*";
}

// The accesses of both, in the kernel's order.
std::string merge_access(std::string_view a, std::string_view b) {
  std::string merged;
  for (const char c : {'r', 'w', 'm'})
    if (a.find(c) != std::string_view::npos || b.find(c) != std::string_view::npos) merged += c;
  return merged;
}

}  // namespace

// Left out although some runtimes allow them: mknod of any device (rwm below is for these nodes only),
// /dev/console itself (5:1, the container's console is a pts slave), /dev/net/tun and /dev/fuse (a [[device]]
// entry asks for them).
std::vector<DeviceRule> default_device_rules() {
  return {
      {'c', 1, 3, "rwm"},               // null
      {'c', 1, 5, "rwm"},               // zero
      {'c', 1, 7, "rwm"},               // full
      {'c', 1, 8, "rwm"},               // random
      {'c', 1, 9, "rwm"},               // urandom
      {'c', 5, 0, "rwm"},               // tty
      {'c', 5, 2, "rwm"},               // ptmx
      {'c', 136, std::nullopt, "rwm"},  // pts slaves, the console among them
  };
}

std::string device_line(const DeviceRule& rule) {
  const std::string line = fmt::format("{} {}:{} {}", rule.type, number_or_star(rule.major),
                                       number_or_star(rule.minor), rule.access);
  if (rule.type != 'c' && rule.type != 'b')
    throw Error(fmt::format("allow the device '{}': the type must be 'c' or 'b'", printable(line)));
  if (rule.access.empty() || rule.access.find_first_not_of("rwm") != std::string::npos)
    throw Error(
        fmt::format("allow the device '{}': the access must be of 'r', 'w' and 'm'", printable(line)));
  return line;
}

DeviceTable merge_device_rules(const std::vector<DeviceRule>& rules) {
  DeviceTable table;
  for (const DeviceRule& rule : rules) {
    std::string& access = table[{rule.type, number_or_star(rule.major), number_or_star(rule.minor)}];
    access = merge_access(access, rule.access);
  }
  return table;
}

DeviceTable parse_device_lines(std::string_view text) {
  DeviceTable table;
  for (const std::string& line : split(text, '\n')) {
    const std::vector<std::string> words = split_words(line);
    if (words.empty()) continue;
    const size_t colon = words.size() == 3 ? words[1].find(':') : std::string::npos;
    if (words[0].size() != 1 || colon == std::string::npos) {
      table[{'?', line, ""}] = "";
      continue;
    }
    std::string& access = table[{words[0][0], words[1].substr(0, colon), words[1].substr(colon + 1)}];
    access = merge_access(access, words[2]);
  }
  return table;
}

std::string one_line(std::string_view lines) {
  std::vector<std::string> parts = split(lines, '\n');
  std::erase_if(parts, [](const std::string& part) { return part.empty(); });
  return join(parts, ", ");
}

}  // namespace holm::quotas
