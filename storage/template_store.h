// The templates of one installation: TEMPLATES/NAME/{root/, template.toml}.
//
// Beside them stand, while something is made or removed, names that begin with a dot: '.NAME.PID.new' is a
// template being built, '.NAME.PID.old' one being removed, '.NAME.PID.lock' the flock(2) that tells whether
// process PID still works on either. Whatever of these is not locked is left over from a killed process.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "storage/template_info.h"

namespace holm::storage {

// Progress of something long, one line at a time, for a person.
using Progress = std::function<void(const std::string& line)>;

// One line of `holm template list`.
struct TemplateEntry {
  TemplateInfo info;   // only `name` and `root` where it is damaged
  std::string damage;  // why it cannot be used; empty where it can
};

struct TemplateDetails {
  TemplateInfo info;
  uint64_t disk_bytes = 0;  // as allocated, files with several names counted once
  uint64_t files = 0;       // everything but directories, by name
  uint64_t directories = 0;
};

struct Leftovers {
  std::vector<std::string> removed;   // names of what was removed
  std::vector<std::string> problems;  // one sentence for each that could not be removed
};

class TemplateStore {
 public:
  explicit TemplateStore(std::string directory) : directory_(std::move(directory)) {}

  const std::string& directory() const { return directory_; }

  // All templates by name, damaged ones too.
  std::vector<TemplateEntry> list() const;
  // Throws where there is none of that name (saying which there are) or it is damaged.
  TemplateInfo find(const std::string& name) const;
  // The template's root file system as an O_PATH directory; throws like find.
  UniqueFd open_root(const std::string& name) const;
  // find, and what it takes on disk: reads the whole tree's directories.
  TemplateDetails inspect(const std::string& name) const;

  // Throws, naming them, where `users` (the containers stacked on it) has any. Damaged templates can be
  // removed. The caller holds whatever lock keeps new users away.
  void remove(const std::string& name, const std::vector<std::string>& users);

  // Makes a template: `build` fills an empty directory, which must then be a root file system, and describes
  // it. The template appears whole and durable, or not at all; where two make one name, one wins and the
  // other throws.
  TemplateInfo create(const std::string& name,
                      const std::function<TemplateInfo(const std::string& root)>& build);

  // Removes what killed processes left; nothing that a living one is working on. create and remove do it
  // first.
  Leftovers collect_leftovers();

 private:
  std::string path_of(const std::string& name) const { return directory_ + "/" + name; }
  TemplateInfo read(const std::string& name) const;
  std::string names() const;

  std::string directory_;
};

}  // namespace holm::storage
