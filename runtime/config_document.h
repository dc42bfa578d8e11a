// A TOML document as plain values that know their place in the file. The TOML library stays behind this.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace holm::runtime {

// Both count from 1; line 0 stands for the file as a whole.
struct Position {
  uint32_t line = 0;
  uint32_t column = 0;
  auto operator<=>(const Position&) const = default;
};

struct ConfigMember;

struct ConfigValue {
  enum class Kind { text, whole_number, fraction, boolean, date, list, table };
  Kind kind = Kind::table;
  Position at;
  Position end;                       // behind its last character; only of text, numbers and booleans
  std::string text;                   // text
  int64_t whole_number = 0;           // whole_number
  double fraction = 0;                // fraction
  bool boolean = false;               // boolean
  std::vector<ConfigValue> items;     // list
  std::vector<ConfigMember> members;  // table, sorted by key
};

struct ConfigMember {
  std::string key;
  Position at;  // of the key
  ConfigValue value;
};

// "a string", "a whole number", "a table": for "must be ..., not a string".
std::string_view describe_kind(ConfigValue::Kind kind);

// One thing that is wrong with a document.
struct ConfigProblem {
  Position at;
  std::string message;
  std::string hint;
};

// Parses TOML. What is not TOML is thrown as an Error of `subject` ("config", "host settings") with place and
// hint.
ConfigValue parse_toml(std::string_view text, const std::string& file_name, std::string_view subject);

// Throws the first problem in the file's order as an Error with exit status 2; the others follow as "also:"
// lines. Does nothing where there is none. Without a `file_name` places are left out.
void throw_problems(std::vector<ConfigProblem> problems, const std::string& file_name,
                    std::string_view subject);

// Reads a file that should be a config: a regular file of at most 1 MiB, never waiting for a FIFO.
// Anything else is an Error with exit status 2; `kind` is "config file" or "host settings".
std::string read_config_file(const std::string& path, std::string_view kind);

}  // namespace holm::runtime
