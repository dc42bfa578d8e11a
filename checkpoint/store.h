// Where a container's checkpoints are: containers/NAME/checkpoint/TAG.
//
//   TAG/manifest.json   written last: a directory without it is unfinished
//   TAG/images/         CRIU's, and in "parent" those that they build on (pre_dump.h)
//   TAG/files.tar       what the container changed of its template's files, if that is archived
//   TAG/untrue          only of "suspended": its processes may have run since (runtime/suspended.h)
//   .TAG.PID.new        being made
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/manifest.h"
#include "runtime/container_store.h"
#include "runtime/suspended.h"

namespace holm::checkpoint {

inline constexpr const char* kDefaultTag = "latest";

// Throws a usage error for what is no tag.
void check_tag(const std::string& tag);
std::string tag_directory(const runtime::Paths& paths, const std::string& container, const std::string& tag);
// Those that are complete.
std::vector<std::string> list_tags(const runtime::Paths& paths, const std::string& container);

// Whether the directory holds a complete one.
bool has_checkpoint(const std::string& directory);
// "there is no checkpoint 'x'", with those that there are.
Error no_checkpoint(const runtime::Paths& paths, const std::string& container, const std::string& tag);

// A checkpoint that is being made: gone at the end of the scope, unless it was kept.
class Draft {
 public:
  Draft(const runtime::Paths& paths, const std::string& container, const std::string& tag);
  ~Draft();
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;

  const std::string& directory() const { return directory_; }
  std::string images() const { return directory_ + "/images"; }
  void empty_images();
  // Gives it its place, instead of one that had its tag.
  void keep();

 private:
  std::string directory_;
  std::string final_;
};

// Removes one. Takes the container's lock.
void remove_tag(const runtime::Installation& installation, const std::string& container,
                const std::string& tag);
// `tag`, or without one what `holm restore NAME` means: what it was suspended to, else the default.
std::string tag_to_restore(const runtime::Paths& paths, const std::string& container, const std::string& tag);
Manifest read_manifest_of_tag(const runtime::Paths& paths, const std::string& container,
                              const std::string& tag);

// Images build on so many others at most, each in the directory "parent" of those that build on it.
inline constexpr unsigned kMaxLevels = 8;
// Their directories, from `images` itself on. Throws where there are more.
std::vector<std::string> image_levels(const std::string& images);
// The names in one of them, without that directory.
std::vector<std::string> list_images(const std::string& level);

// A directory of other names for a checkpoint's files, until the end of the scope.
class WorkDirectory {
 public:
  explicit WorkDirectory(const std::string& store);
  ~WorkDirectory();
  WorkDirectory(const WorkDirectory&) = delete;
  WorkDirectory& operator=(const WorkDirectory&) = delete;

  const std::string& path() const { return path_; }
  // Gives all images in the directory, and those that they build on, the same names in here.
  void link_images(const std::string& images);

 private:
  std::string path_;
};

Manifest read_manifest(const std::string& directory);
void write_manifest(const std::string& directory, const Manifest& manifest);

// Marks one that goes with the files in place as untrue; durably.
void mark_untrue(const std::string& directory);
void unmark_untrue(const std::string& directory);
bool is_untrue(const std::string& directory);

}  // namespace holm::checkpoint
