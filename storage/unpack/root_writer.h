// Writes entries below a directory without ever following a link in it.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "storage/entry_rules.h"

namespace holm::unpack {

// What an entry is given besides its content. Owners are checked, attributes are filtered before.
struct Metadata {
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t mode = 0755;  // permission and set-id bits
  timespec modified = {};
  std::vector<std::pair<std::string, std::string>> attributes;
};

// Paths are those of storage::entry_path. A later entry replaces an earlier one of its name; but a directory
// that has entries is only replaced by a directory. Missing parents are made, as root's with mode 0755.
class RootWriter {
 public:
  explicit RootWriter(int root) : root_(root) {}

  void put_directory(const std::string& path, const Metadata& metadata);
  // An empty file to be filled by the caller, who then calls finish_file.
  UniqueFd make_file(const std::string& path);
  void finish_file(int fd, const std::string& path, const Metadata& metadata);
  void put_symbolic_link(const std::string& path, const std::string& target, const Metadata& metadata);
  // `target` is an entry's path.
  void put_hard_link(const std::string& path, const std::string& target);
  // overlayfs's mark that a file of the layer below is gone.
  void put_whiteout(const std::string& path);
  void put_fifo(const std::string& path, const Metadata& metadata);
  // Sets the directories' times, which every entry inside changes.
  void finish();

 private:
  int parent_of(const std::string& path);
  UniqueFd open_or_make_directory(const std::string& path);
  void make_way(int parent, const std::string& path);

  int root_;
  UniqueFd parent_;          // of the last entry: most entries follow a neighbour
  std::string parent_path_;  // its path
  std::map<std::string, timespec> directory_times_;
};

}  // namespace holm::unpack
