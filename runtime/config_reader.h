// Typed reading of a parsed document by the key table: each method gives the value, or nothing where the key
// is absent or wrong; what is wrong is collected, with its place, so that a file's mistakes are told all at
// once.
#pragma once

#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unit.h"
#include "runtime/config_document.h"
#include "runtime/config_keys.h"

namespace holm::runtime {

struct ReadContext {
  const KeyTable& table;
  std::vector<ConfigProblem> problems;
  // Where each value stands: "cpu.pin", "network[0].addresses[1]", "env.TZ".
  std::map<std::string, Position, std::less<>> places;

  // The place of a value, or of the nearest thing around it.
  Position place_of(std::string_view path) const;
};

// One table of the document: the top, "[cpu]", or one entry of "[[network]]".
class SectionReader {
 public:
  // `path` names it for users ("cpu", "network"), `place` among the places ("cpu", "network[0]"). Unknown
  // keys and keys that this version lacks are noted at once.
  SectionReader(const ConfigValue& table, std::string path, std::string place, ReadContext& context);

  bool has(std::string_view key) const { return find(key) != nullptr; }
  std::optional<std::string> text(std::string_view key);
  std::optional<bool> boolean(std::string_view key);
  std::optional<int64_t> whole_number(std::string_view key);
  std::optional<Bytes> size(std::string_view key);
  std::optional<Bytes> rate(std::string_view key);  // per second
  std::optional<std::vector<std::string>> texts(std::string_view key);
  std::optional<std::map<std::string, std::string>> text_table(std::string_view key);
  // A number, a size, or "unlimited" as UINT64_MAX.
  std::optional<uint64_t> limit(std::string_view key);
  std::vector<std::string> keys() const;

  // One of named values; a name in `later` is refused as not available.
  template <class Value>
  std::optional<Value> choice(std::string_view key,
                              std::initializer_list<std::pair<std::string_view, Value>> values,
                              std::initializer_list<std::string_view> later = {}) {
    const auto name = text(key);
    if (!name) return std::nullopt;
    std::vector<std::string_view> names;
    for (const auto& [candidate, value] : values) {
      if (candidate == *name) return value;
      names.push_back(candidate);
    }
    refuse_choice(key, *name, names, later);
    return std::nullopt;
  }

  // The tables of a section: one for "[cpu]", one an entry for "[[network]]", none where it is absent or of
  // wrong type.
  std::vector<SectionReader> sections(std::string_view name);

  // Notes a problem with the value of `key` ("must be ALLOWED, not GIVEN"), or with `item` within it.
  void refuse(std::string_view key, std::string_view given, std::string hint = "");
  // Notes a problem of one's own words at the key, or at the section itself where it is not set.
  void note(std::string_view key, std::string message, std::string hint = "");

 private:
  const ConfigMember* find(std::string_view key) const;
  void refuse_unknown_keys();
  void refuse_unknown_key(const ConfigMember& member);
  void refuse_later_section(const ConfigMember& member, const ConfigSection& section);
  void refuse_choice(std::string_view key, const std::string& given,
                     const std::vector<std::string_view>& names,
                     std::initializer_list<std::string_view> later);
  void refuse_at(const Position& at, std::string_view key, std::string_view given, std::string hint);
  bool is_in_range(std::string_view key, const Bytes& bytes) const;
  // Notes a wrong type or a NUL byte.
  bool is_text(const ConfigValue& value, std::string_view key);
  const ConfigValue* find_of_kind(std::string_view key, ConfigValue::Kind kind);
  std::string full_path(std::string_view key) const;
  std::string full_place(std::string_view key) const;
  const ConfigKey& info(std::string_view key) const;

  const ConfigValue* table_;
  std::string path_;
  std::string place_;
  ReadContext* context_;
};

}  // namespace holm::runtime
