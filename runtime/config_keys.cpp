#include "runtime/config_keys.h"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "base/text.h"

namespace holm::runtime {
namespace {

std::string full_path(std::string_view section, std::string_view key) {
  return section.empty() ? std::string(key) : fmt::format("{}.{}", section, key);
}

std::string brackets(const ConfigSection& section) {
  return section.kind == ConfigSection::Kind::list ? fmt::format("[[{}]]", section.name)
                                                   : fmt::format("[{}]", section.name);
}

// "'command' belongs at the top of the file": a key that exists, but elsewhere.
std::string hint_for_misplaced_key(const KeyTable& table, std::string_view key) {
  std::string sections;
  for (const ConfigKey& candidate : table.keys) {
    if (last_part(candidate.path) != key || candidate.availability == Availability::later) continue;
    const std::string_view section = section_of(candidate.path);
    if (section.empty())
      return fmt::format("'{}' belongs at the top of the file, before the first [section]", key);
    sections += (sections.empty() ? "" : " or ") + brackets(*table.find_section(section));
  }
  if (sections.empty()) return "";
  return fmt::format("'{}' belongs in {}", key, sections);
}

}  // namespace

std::string_view section_of(std::string_view path) {
  const size_t dot = path.find('.');
  return dot == std::string_view::npos ? std::string_view() : path.substr(0, dot);
}

std::string_view last_part(std::string_view path) { return path.substr(path.rfind('.') + 1); }

const ConfigKey* KeyTable::find(std::string_view path) const {
  const auto found = std::ranges::find(keys, path, &ConfigKey::path);
  return found == keys.end() ? nullptr : &*found;
}

const ConfigSection* KeyTable::find_section(std::string_view name) const {
  const auto found = std::ranges::find(sections, name, &ConfigSection::name);
  return found == sections.end() ? nullptr : &*found;
}

std::string hint_for_unknown_key(const KeyTable& table, std::string_view section, std::string_view key) {
  constexpr size_t kLongestSensible = 64;  // no key is near that, and the distance costs length x length
  if (key.size() > kLongestSensible) return "";
  if (std::string hint = hint_for_misplaced_key(table, key); !hint.empty()) return hint;
  std::vector<std::string_view> candidates;
  for (const ConfigKey& candidate : table.keys)
    if (section_of(candidate.path) == section) candidates.push_back(last_part(candidate.path));
  if (section.empty())
    for (const ConfigSection& candidate : table.sections) candidates.push_back(candidate.name);
  const auto meant = nearest(key, candidates);
  return meant ? fmt::format("did you mean '{}'?", full_path(section, *meant)) : "";
}

}  // namespace holm::runtime
