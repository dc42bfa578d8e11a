// Reads the table of /proc/user_beancounters as monitoring programs do, and is stricter than any: shares no
// code with what writes it.
#pragma once

#include <cctype>
#include <cstdint>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace holm::test {

struct BeancounterRow {
  int64_t held = 0, maxheld = 0, barrier = 0, limit = 0,
          failcnt = 0;  // C's long, as OpenVZ's programs have it
};

struct BeancounterTable {
  std::map<int64_t, std::map<std::string, BeancounterRow>> containers;
  std::map<int64_t, std::vector<std::string>> order;  // the resources as they stand there
};

namespace beancounters {

inline void require(bool holds, const std::string& what, const std::string& line) {
  if (!holds) throw std::runtime_error(what + ": '" + line + "'");
}

inline bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// "%10s%c %-12s" and five times " %20lu": where names are no longer than 12, columns have fixed places.
inline void require_columns(const std::string& line, const std::string& resource) {
  require(line.size() > 12 && line[11] == ' ', "no blank before the resource", line);
  require(line.compare(12, resource.size(), resource) == 0, "the resource is not in column 13", line);
  if (resource.size() > 12) return;
  require(line.size() == 24 + 5 * 21, "not as wide as OpenVZ's", line);
  for (size_t column = 24; column < line.size(); column += 21)
    require(line[column] == ' ', "a number begins too early", line);
}

}  // namespace beancounters

inline BeancounterTable read_beancounters(const std::string& text) {
  using namespace beancounters;
  BeancounterTable table;
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  require(line == "Version: 2.5", "not the version", line);
  std::getline(lines, line);
  require(line ==
              "       uid  resource                     held              maxheld              barrier"
              "                limit              failcnt",
          "not the header", line);
  int64_t owner = -1;
  while (std::getline(lines, line)) {
    std::istringstream stream(line);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    require(!words.empty(), "an empty line", line);
    if (words[0].back() == ':') {
      const std::string number = words[0].substr(0, words[0].size() - 1);
      require(is_number(number) && line.find(':') == 10, "no container's number", line);
      owner = std::stoll(number);
      require(table.containers.count(owner) == 0, "a container twice", line);
      words.erase(words.begin());
    }
    require(owner >= 0, "a row of no container", line);
    require(words.size() == 6, "not a name and five numbers", line);
    for (size_t i = 1; i < words.size(); ++i) require(is_number(words[i]), "no number", line);
    require(std::islower(static_cast<unsigned char>(words[0][0])) != 0, "no resource", line);
    require_columns(line, words[0]);
    auto& rows = table.containers[owner];
    require(rows.count(words[0]) == 0, "a resource twice", line);
    rows[words[0]] = {std::stoll(words[1]), std::stoll(words[2]), std::stoll(words[3]), std::stoll(words[4]),
                      std::stoll(words[5])};
    require(rows[words[0]].maxheld >= rows[words[0]].held, "more is held than ever was", line);
    table.order[owner].push_back(words[0]);
  }
  require(text.empty() || text.back() == '\n', "the last line has no end", line);
  return table;
}

}  // namespace holm::test
