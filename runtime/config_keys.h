// Every key of a container's config file, in one table: type, default, what is allowed, meaning. It drives
// parsing, suggestions for unknown keys, refusals of what this version lacks, and 'holm config show
// --defaults'.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace holm::runtime {

enum class KeyType {
  text,
  boolean,
  whole_number,
  size,
  rate,
  text_list,
  text_table,
  count_limit,
  size_limit
};
enum class Availability { now, later };

struct ConfigKey {
  std::string_view path;  // "hostname", "cpu.weight"; "network.mode" is the key 'mode' of each [[network]]
  KeyType type = KeyType::text;
  std::string_view default_value = "";  // as TOML text; empty: none
  std::string_view example = "";        // as TOML text, where there is no default
  std::string_view allowed = "";        // completes "must be ..."
  std::string_view meaning = "";
  Availability availability = Availability::now;
  int64_t min = 0;  // whole_number, size and rate (bytes), limits
  int64_t max = INT64_MAX;
};

// A table of the file ("[cpu]") or a list of tables ("[[network]]").
struct ConfigSection {
  enum class Kind { table, list };
  std::string_view name;
  Kind kind = Kind::table;
  std::string_view meaning = "";
};

// The keys and sections that one kind of file may hold.
struct KeyTable {
  std::span<const ConfigKey> keys;
  std::span<const ConfigSection> sections;

  const ConfigKey* find(std::string_view path) const;
  const ConfigSection* find_section(std::string_view name) const;
};

// The table of a container's config file.
const KeyTable& container_keys();

// "cpu" of "cpu.weight", "" of "hostname"; and the part behind it.
std::string_view section_of(std::string_view path);
std::string_view last_part(std::string_view path);

// What a user likely meant by the unknown `key` in `section` ("": top of the file): a complete hint, or
// empty.
std::string hint_for_unknown_key(const KeyTable& table, std::string_view section, std::string_view key);

}  // namespace holm::runtime
