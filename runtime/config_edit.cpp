#include "runtime/config_edit.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "runtime/config_document.h"
#include "runtime/config_keys.h"

namespace holm::runtime {
namespace {

// The byte at a place, which counts lines and characters.
size_t offset_of(std::string_view text, const Position& at) {
  size_t offset = 0;
  for (uint32_t line = 1; line < at.line; ++line)
    offset = std::min(text.find('\n', offset), text.size() - 1) + 1;
  const auto is_continuation = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
  for (uint32_t column = 1; column < at.column && offset < text.size(); ++column) do
      ++offset;
    while (offset < text.size() && is_continuation(text[offset]));
  return offset;
}

size_t end_of_line(std::string_view text, size_t offset) {
  return std::min(text.find('\n', offset), text.size());
}

const ConfigMember* find_member(const ConfigValue& table, std::string_view key) {
  const auto found = std::ranges::find(table.members, key, &ConfigMember::key);
  return found == table.members.end() ? nullptr : &*found;
}

const ConfigMember* last_member(const ConfigValue& table) {
  const auto last =
      std::ranges::max_element(table.members, {}, [](const ConfigMember& member) { return member.at; });
  return last == table.members.end() ? nullptr : &*last;
}

// One change to the text of a document.
class Edit {
 public:
  Edit(std::string& text, const KeyChange& change)
      : text_(text),
        change_(change),
        section_(section_of(change.path)),
        key_(last_part(change.path)),
        document_(parse_toml(text, "", "config")) {
    const ConfigMember* const section = find_member(document_, section_);
    table_ = section_.empty() ? &document_ : section ? &section->value : nullptr;
  }

  void apply() {
    const ConfigMember* const member = table_ ? find_member(*table_, key_) : nullptr;
    if (change_.value.empty()) {
      if (member) remove(*table_, *member);
    } else if (member) {
      replace_value(member->value);
    } else if (table_) {
      insert(*table_);
    } else {
      append_table();
    }
  }

  void replace() {
    if (const ConfigMember* const member = table_ ? find_member(*table_, key_) : nullptr)
      replace_value(member->value);
  }

 private:
  enum class Form { header, inline_table, dotted_keys };  // "[cpu]", "cpu = { weight = 5 }", "cpu.weight = 5"

  Form form_of(const ConfigValue& table) const {
    const size_t at = offset_of(text_, table.at);
    if (at < text_.size() && text_[at] == '[') return Form::header;
    if (at < text_.size() && text_[at] == '{') return Form::inline_table;
    return Form::dotted_keys;
  }

  void replace_value(const ConfigValue& value) {
    const size_t begin = offset_of(text_, value.at);
    text_.replace(begin, offset_of(text_, value.end) - begin, change_.value);
  }

  // After the table's last key, or after its header or brace where it has none.
  void insert(const ConfigValue& table) {
    const ConfigMember* const last = last_member(table);
    const std::string assignment = fmt::format("{} = {}", key_, change_.value);
    switch (form_of(table)) {
      case Form::inline_table:
        if (last)
          text_.insert(offset_of(text_, last->value.end), ", " + assignment);
        else
          text_.insert(offset_of(text_, table.at) + 1, " " + assignment + " ");
        return;
      case Form::dotted_keys:
        if (last) insert_line(offset_of(text_, last->value.end), fmt::format("{}.{}", section_, assignment));
        return;
      case Form::header:
        insert_line(offset_of(text_, last ? last->value.end : table.at), assignment);
        return;
    }
  }

  // Below the line that `offset` is in.
  void insert_line(size_t offset, const std::string& line) {
    const size_t end = end_of_line(text_, offset);
    const bool has_return = end > 0 && text_[end - 1] == '\r';  // the user's line ends
    text_.insert(end, fmt::format("{}{}{}", "\n", line, has_return ? "\r" : ""));
  }

  void append_table() {
    if (!text_.empty() && text_.back() != '\n') text_ += '\n';
    text_ += fmt::format("\n[{}]\n{} = {}\n", section_, key_, change_.value);
  }

  // With its line where nothing else, such as a comment, stands on it.
  void remove(const ConfigValue& table, const ConfigMember& member) {
    size_t begin = offset_of(text_, member.at), end = offset_of(text_, member.value.end);
    if (form_of(table) == Form::inline_table) {
      const size_t comma = text_.find_first_not_of(" \t", end);
      if (comma != std::string::npos && text_[comma] == ',') {
        end = std::min(text_.find_first_not_of(" \t", comma + 1), text_.size());
      } else if (table.members.size() > 1) {
        begin = text_.rfind(',', begin);
      }
      text_.erase(begin, end - begin);
      return;
    }
    begin = begin == 0 ? 0 : text_.rfind('\n', begin - 1) + 1;  // the key may have more parts before it
    const size_t next = end_of_line(text_, end);
    const size_t comment = text_.find_first_not_of(" \t\r", end);
    const bool has_comment = comment < next;
    text_.erase(begin, (has_comment ? comment : std::min(next + 1, text_.size())) - begin);
  }

  std::string& text_;
  const KeyChange& change_;
  std::string section_;
  std::string key_;
  ConfigValue document_;
  const ConfigValue* table_;
};

}  // namespace

std::string edit_config(std::string text, const std::vector<KeyChange>& changes) {
  for (const KeyChange& change : changes) Edit(text, change).apply();
  return text;
}

std::string replace_in_config(std::string text, const KeyChange& change) {
  Edit(text, change).replace();
  return text;
}

}  // namespace holm::runtime
