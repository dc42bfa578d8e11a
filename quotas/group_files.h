// The files of one group as one look sees them. Not for other folders.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "base/unit.h"

namespace holm::quotas {

// All that is read is of one life of the group: where it is removed meanwhile, and perhaps made anew, the
// rest is not there. Each file is read once.
class GroupFiles {
 public:
  explicit GroupFiles(const std::string& directory);

  // A number that no later group of this path has, until the host is booted again; 0 where there is none.
  uint64_t life() const { return life_; }
  // Without the final newline; nothing where there is no such file.
  const std::optional<std::string>& text(const std::string& name);
  // As the functions of control_file.h with the same meaning.
  std::optional<uint64_t> number(const std::string& name);
  std::optional<Bytes> bytes(const std::string& name);
  std::optional<uint64_t> keyed(const std::string& name, std::string_view key);

 private:
  UniqueFd directory_;
  uint64_t life_ = 0;
  std::map<std::string, std::optional<std::string>> texts_;
};

}  // namespace holm::quotas
