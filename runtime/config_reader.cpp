#include "runtime/config_reader.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/text.h"

namespace holm::runtime {
namespace {

using Kind = ConfigValue::Kind;

constexpr std::string_view kNotAvailable = "is not available in this version";

// What to write instead of a value of a wrong type, where that is likely.
std::string type_hint(std::string_view key, KeyType type, const ConfigValue& value) {
  const bool is_number = value.kind == Kind::whole_number;
  if (type == KeyType::text && is_number)
    return fmt::format("put it in quotes: {} = \"{}\"", key, value.whole_number);
  if (type == KeyType::rate && is_number)
    return fmt::format("put it in quotes, with its unit: {} = \"{}/s\"", key, value.whole_number);
  if (type == KeyType::text_list && value.kind == Kind::text)
    return fmt::format("write a list: {} = [{}]", key, quoted(value.text));
  if (type == KeyType::whole_number && value.kind == Kind::text && parse_signed(value.text))
    return fmt::format("leave the quotes out: {} = {}", key, value.text);
  if (type == KeyType::boolean && (value.text == "true" || value.text == "false"))
    return fmt::format("leave the quotes out: {} = {}", key, value.text);
  return "";
}

}  // namespace

Position ReadContext::place_of(std::string_view path) const {
  for (;;) {
    if (const auto found = places.find(path); found != places.end()) return found->second;
    const size_t end = path.find_last_of(".[");
    if (end == std::string_view::npos) return {};
    path = path.substr(0, end);
  }
}

SectionReader::SectionReader(const ConfigValue& table, std::string path, std::string place,
                             ReadContext& context)
    : table_(&table), path_(std::move(path)), place_(std::move(place)), context_(&context) {
  if (!place_.empty()) context_->places[place_] = table.at;
  for (const ConfigMember& member : table.members) context_->places[full_place(member.key)] = member.value.at;
  refuse_unknown_keys();
}

std::string SectionReader::full_path(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

std::string SectionReader::full_place(std::string_view key) const {
  return place_.empty() ? std::string(key) : fmt::format("{}.{}", place_, key);
}

const ConfigKey& SectionReader::info(std::string_view key) const {
  return *context_->table.find(full_path(key));
}

const ConfigMember* SectionReader::find(std::string_view key) const {
  const auto found = std::ranges::find(table_->members, key, &ConfigMember::key);
  return found == table_->members.end() ? nullptr : &*found;
}

std::vector<std::string> SectionReader::keys() const {
  std::vector<std::string> keys;
  for (const ConfigMember& member : table_->members)
    if (context_->table.find(full_path(member.key))) keys.push_back(member.key);
  return keys;
}

void SectionReader::refuse_unknown_keys() {
  for (const ConfigMember& member : table_->members) {
    const ConfigKey* key = context_->table.find(full_path(member.key));
    // A quoted key of the file may hold a dot: "cpu.weight" = 5 is no key of ours.
    const bool is_known = key && member.key.find('.') == std::string::npos;
    const ConfigSection* section = path_.empty() ? context_->table.find_section(member.key) : nullptr;
    if (is_known && key->availability == Availability::later) {
      context_->problems.push_back({member.at, fmt::format("'{}' {}", key->path, kNotAvailable), ""});
    } else if (section) {
      refuse_later_section(member, *section);
    } else if (!is_known) {
      refuse_unknown_key(member);
    }
  }
}

void SectionReader::refuse_unknown_key(const ConfigMember& member) {
  // Suggestions cost time, and nobody sees them for the thousandth key.
  constexpr size_t kSuggestions = 50;
  const bool is_worth_it = context_->problems.size() < kSuggestions;
  context_->problems.push_back({member.at, fmt::format("unknown key '{}'", shortened(full_path(member.key))),
                                is_worth_it ? hint_for_unknown_key(context_->table, path_, member.key) : ""});
}

// "[[device]]" as a whole where none of its keys is available; tables name the key instead.
void SectionReader::refuse_later_section(const ConfigMember& member, const ConfigSection& section) {
  if (section.kind != ConfigSection::Kind::list) return;
  for (const ConfigKey& key : context_->table.keys)
    if (section_of(key.path) == section.name && key.availability == Availability::now) return;
  context_->problems.push_back({member.at, fmt::format("'{}' {}", section.name, kNotAvailable), ""});
}

void SectionReader::refuse_at(const Position& at, std::string_view key, std::string_view given,
                              std::string hint) {
  context_->problems.push_back(
      {at, fmt::format("'{}' must be {}, not {}", full_path(key), info(key).allowed, given),
       std::move(hint)});
}

void SectionReader::refuse(std::string_view key, std::string_view given, std::string hint) {
  refuse_at(context_->place_of(full_place(key)), key, given, std::move(hint));
}

void SectionReader::note(std::string_view key, std::string message, std::string hint) {
  context_->problems.push_back({context_->place_of(full_place(key)), std::move(message), std::move(hint)});
}

const ConfigValue* SectionReader::find_of_kind(std::string_view key, Kind kind) {
  const ConfigMember* member = find(key);
  if (!member) return nullptr;
  if (member->value.kind == kind) return &member->value;
  refuse(key, describe_kind(member->value.kind), type_hint(key, info(key).type, member->value));
  return nullptr;
}

bool SectionReader::is_text(const ConfigValue& value, std::string_view key) {
  if (value.kind != Kind::text) {
    refuse_at(value.at, key, fmt::format("one that holds {}", describe_kind(value.kind)),
              type_hint(key, KeyType::text_table, value));
    return false;
  }
  if (value.text.find('\0') == std::string::npos) return true;
  context_->problems.push_back({value.at, fmt::format("'{}' holds a NUL byte", full_path(key)), ""});
  return false;
}

std::optional<std::string> SectionReader::text(std::string_view key) {
  const ConfigValue* value = find_of_kind(key, Kind::text);
  if (!value || !is_text(*value, key)) return std::nullopt;
  return value->text;
}

std::optional<bool> SectionReader::boolean(std::string_view key) {
  const ConfigValue* value = find_of_kind(key, Kind::boolean);
  if (!value) return std::nullopt;
  return value->boolean;
}

std::optional<int64_t> SectionReader::whole_number(std::string_view key) {
  const ConfigValue* value = find_of_kind(key, Kind::whole_number);
  if (!value) return std::nullopt;
  if (value->whole_number >= info(key).min && value->whole_number <= info(key).max)
    return value->whole_number;
  refuse(key, fmt::format("{}", value->whole_number));
  return std::nullopt;
}

std::optional<Bytes> SectionReader::size(std::string_view key) {
  const ConfigMember* member = find(key);
  if (!member) return std::nullopt;
  const ConfigValue& value = member->value;
  if (value.kind != Kind::text && value.kind != Kind::whole_number) {
    refuse(key, describe_kind(value.kind));
    return std::nullopt;
  }
  std::optional<Bytes> bytes;
  if (value.kind == Kind::text) bytes = parse_bytes(value.text);
  if (value.kind == Kind::whole_number && value.whole_number >= 0)
    bytes = Bytes{static_cast<uint64_t>(value.whole_number)};
  if (bytes && is_in_range(key, *bytes)) return bytes;
  refuse(key, value.kind == Kind::text ? quoted(value.text) : fmt::format("{}", value.whole_number));
  return std::nullopt;
}

std::optional<Bytes> SectionReader::rate(std::string_view key) {
  const ConfigValue* value = find_of_kind(key, Kind::text);
  if (!value) return std::nullopt;
  const auto bytes = parse_rate(value->text);
  if (bytes && is_in_range(key, *bytes)) return bytes;
  const bool lacks_unit = !bytes && parse_bytes(value->text);
  refuse(key, quoted(value->text), lacks_unit ? fmt::format("write {} = \"{}/s\"", key, value->text) : "");
  return std::nullopt;
}

bool SectionReader::is_in_range(std::string_view key, const Bytes& bytes) const {
  return bytes.count >= static_cast<uint64_t>(info(key).min) &&
         bytes.count <= static_cast<uint64_t>(info(key).max);
}

std::optional<uint64_t> SectionReader::limit(std::string_view key) {
  const ConfigMember* member = find(key);
  if (member && member->value.kind == Kind::text) {
    if (member->value.text == "unlimited") return UINT64_MAX;
    if (info(key).type == KeyType::count_limit) {
      refuse(key, quoted(member->value.text));
      return std::nullopt;
    }
  }
  const auto bytes = size(key);
  if (!bytes) return std::nullopt;
  return bytes->count;
}

std::optional<std::vector<std::string>> SectionReader::texts(std::string_view key) {
  const ConfigValue* list = find_of_kind(key, Kind::list);
  if (!list) return std::nullopt;
  std::vector<std::string> texts;
  bool is_good = true;
  for (const ConfigValue& item : list->items) {
    context_->places[fmt::format("{}[{}]", full_place(key), texts.size())] = item.at;
    is_good = is_text(item, key) && is_good;
    texts.push_back(item.text);
  }
  if (!is_good) return std::nullopt;
  return texts;
}

std::optional<std::map<std::string, std::string>> SectionReader::text_table(std::string_view key) {
  const ConfigValue* table = find_of_kind(key, Kind::table);
  if (!table) return std::nullopt;
  std::map<std::string, std::string> texts;
  for (const ConfigMember& member : table->members) {
    context_->places[fmt::format("{}.{}", full_place(key), member.key)] = member.at;
    if (is_text(member.value, key)) texts[member.key] = member.value.text;
  }
  return texts;
}

void SectionReader::refuse_choice(std::string_view key, const std::string& given,
                                  const std::vector<std::string_view>& names,
                                  std::initializer_list<std::string_view> later) {
  if (std::ranges::find(later, given) != later.end()) {
    note(key, fmt::format("'{} = \"{}\"' {}", full_path(key), given, kNotAvailable));
    return;
  }
  const auto meant = given.size() < 32 ? nearest(given, names) : std::nullopt;
  refuse(key, quoted(given), meant ? fmt::format("did you mean \"{}\"?", *meant) : "");
}

std::vector<SectionReader> SectionReader::sections(std::string_view name) {
  std::vector<SectionReader> readers;
  const ConfigMember* member = find(name);
  if (!member) return readers;
  const ConfigSection& section = *context_->table.find_section(name);
  if (section.kind == ConfigSection::Kind::table) {
    if (member->value.kind == Kind::table) {
      readers.emplace_back(member->value, std::string(name), std::string(name), *context_);
    } else {
      note(name, fmt::format("'{}' must be a table, not {}", name, describe_kind(member->value.kind)),
           fmt::format("write [{}] on a line of its own, and its keys below it", name));
    }
    return readers;
  }
  const std::string hint = fmt::format("write [[{}]] on a line of its own, and its keys below it", name);
  if (member->value.kind != Kind::list) {
    note(name, fmt::format("'{}' must be a list of tables, not {}", name, describe_kind(member->value.kind)),
         hint);
    return readers;
  }
  for (const ConfigValue& item : member->value.items) {
    const std::string place = fmt::format("{}[{}]", name, readers.size());
    if (item.kind != Kind::table) {
      context_->problems.push_back(
          {item.at, fmt::format("'{}' must be a list of tables, not of {}", name, describe_kind(item.kind)),
           hint});
      break;
    }
    readers.emplace_back(item, std::string(name), place, *context_);
  }
  return readers;
}

}  // namespace holm::runtime
