// Changes keys of a config file's text and leaves everything else, comments too, as the user wrote it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace holm::runtime {

struct KeyChange {
  std::string path;   // "cpu.weight": a key of a table, "[cpu]"
  std::string value;  // as TOML text; empty: the key goes, and its default comes back
};

// `text` is valid TOML. A key that is not there is added to its table, the table at the end of the file.
// Throws where a table is written in a way that cannot be changed.
std::string edit_config(std::string text, const std::vector<KeyChange>& changes);
// Changes a key of a table or of the top of the file; nothing where it is not there.
std::string replace_in_config(std::string text, const KeyChange& change);

}  // namespace holm::runtime
