// Numbers out of a range, each held by at most one owner, recorded durably before use.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/file.h"

namespace holm {

// A directory with one small file per number that is held; the file's name is the number, its content the
// owner. Two processes that ask at once never get the same number, and a file that cannot be read still
// counts as held.
class LeaseDirectory {
 public:
  explicit LeaseDirectory(std::string path) : path_(std::move(path)) {}

  // The lowest free number of [first, last] (the preferred one if it is free), now held by `owner` and synced
  // to disk; nothing where all are held.
  std::optional<uint32_t> acquire(const std::string& owner, uint32_t first, uint32_t last,
                                  std::optional<uint32_t> preferred = std::nullopt,
                                  Durability durability = Durability::survives_crash);
  // Gives a number back; one that is not held, or is another owner's, is left as it is.
  void release(uint32_t number, const std::string& owner);
  // Hands a number from one owner name to another.
  void rename_owner(uint32_t number, const std::string& owner);
  // All held numbers with their owners.
  std::map<uint32_t, std::string> holders() const;
  // Removes what processes that were killed while they renamed an owner left.
  void remove_leftovers();

 private:
  std::string file_of(uint32_t number) const;
  bool take(uint32_t number, const std::string& owner, Durability durability);

  std::string path_;
};

}  // namespace holm
