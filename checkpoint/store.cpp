#include "checkpoint/store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm::checkpoint {
namespace {

constexpr const char* kManifestName = "/manifest.json";
constexpr std::string_view kNew = ".new";

std::string untrue_mark(const std::string& directory) {
  return fmt::format("{}/{}", directory, runtime::kUntrueMark);
}

}  // namespace

void check_tag(const std::string& tag) {
  if (!is_dns_label(tag))
    throw usage_error(fmt::format("'{}' is no tag", printable(tag)))
        .hint("a tag has up to 63 letters, digits and inner hyphens");
}

std::string tag_directory(const runtime::Paths& paths, const std::string& container, const std::string& tag) {
  return runtime::checkpoint_store(paths, container) + "/" + tag;
}

std::vector<std::string> list_tags(const runtime::Paths& paths, const std::string& container) {
  std::vector<std::string> tags;
  for (const std::string& name : list_directory(runtime::checkpoint_store(paths, container)))
    if (is_dns_label(name) && has_checkpoint(tag_directory(paths, container, name))) tags.push_back(name);
  return tags;
}

bool has_checkpoint(const std::string& directory) { return sys::exists(directory + kManifestName); }

Error no_checkpoint(const runtime::Paths& paths, const std::string& container, const std::string& tag) {
  const auto tags = list_tags(paths, container);
  Error error(fmt::format("it has no checkpoint '{}'", tag));
  if (tags.empty())
    return error.hint(fmt::format("'holm checkpoint {}' makes one of a running container", container));
  return error.hint("it has: " + join(tags, ", "));
}

Draft::Draft(const runtime::Paths& paths, const std::string& container, const std::string& tag)
    : directory_(
          fmt::format("{}/.{}.{}{}", runtime::checkpoint_store(paths, container), tag, ::getpid(), kNew)),
      final_(tag_directory(paths, container, tag)) {
  sys::make_directories(runtime::checkpoint_store(paths, container), 0700);
  sys::remove_tree(directory_);
  sys::make_directory(directory_, 0700);
  sys::make_directory(images(), 0700);
}

Draft::~Draft() {
  if (directory_ == final_) return;
  ignore_errors([&] { sys::remove_tree(directory_); });  // the next command that takes the lock removes it
}

void Draft::empty_images() {
  sys::remove_tree(images());
  sys::make_directory(images(), 0700);
}

void Draft::keep() {
  // In one step, so that whenever this is killed there is one of that tag, where there was one.
  const bool replaces = sys::exists(final_);
  if (::renameat2(AT_FDCWD, directory_.c_str(), AT_FDCWD, final_.c_str(),
                  replaces ? RENAME_EXCHANGE : RENAME_NOREPLACE) != 0)
    throw Error::system(fmt::format("rename '{}' to '{}'", directory_, final_));
  const std::string old = std::exchange(directory_, final_);
  if (replaces) ignore_errors([&] { sys::remove_tree(old); });  // as above
}

void remove_tag(const runtime::Installation& installation, const std::string& container,
                const std::string& tag) {
  check_tag(tag);
  const FileLock lock = runtime::lock_container(installation.paths, container);
  const std::string directory = tag_directory(installation.paths, container, tag);
  if (!has_checkpoint(directory)) throw no_checkpoint(installation.paths, container, tag);
  sys::remove_file(directory + kManifestName);  // first: what is half removed is none
  sys::remove_tree(directory);
}

std::string tag_to_restore(const runtime::Paths& paths, const std::string& container,
                           const std::string& tag) {
  if (!tag.empty()) return tag;
  return has_checkpoint(tag_directory(paths, container, runtime::kSuspendedTag)) ? runtime::kSuspendedTag
                                                                                 : kDefaultTag;
}

Manifest read_manifest_of_tag(const runtime::Paths& paths, const std::string& container,
                              const std::string& tag) {
  runtime::require_container(paths, container);
  const std::string chosen = tag_to_restore(paths, container, tag);
  check_tag(chosen);
  const std::string directory = tag_directory(paths, container, chosen);
  if (!has_checkpoint(directory)) throw no_checkpoint(paths, container, chosen);
  return read_manifest(directory);
}

WorkDirectory::WorkDirectory(const std::string& store)
    : path_(fmt::format("{}/.work.{}{}", store, ::getpid(), kNew)) {
  sys::make_directories(store, 0700);
  sys::remove_tree(path_);
  sys::make_directory(path_, 0700);
}

WorkDirectory::~WorkDirectory() {
  ignore_errors([&] { sys::remove_tree(path_); });  // as above
}

void WorkDirectory::link_images(const std::string& images) {
  for (const std::string& level : image_levels(images)) {
    const std::string target = path_ + level.substr(images.size());
    if (target != path_) sys::make_directory(target, 0700);
    for (const std::string& name : list_images(level))
      if (::link(fmt::format("{}/{}", level, name).c_str(), fmt::format("{}/{}", target, name).c_str()) != 0)
        throw Error::system(fmt::format("link '{}/{}'", level, name));
  }
}

std::vector<std::string> image_levels(const std::string& images) {
  std::vector<std::string> levels = {images};
  while (sys::exists(levels.back() + "/parent")) {
    if (levels.size() > kMaxLevels)
      throw Error(fmt::format("its images build on more than {} others", kMaxLevels));
    levels.push_back(levels.back() + "/parent");
  }
  return levels;
}

std::vector<std::string> list_images(const std::string& level) {
  std::vector<std::string> names = list_directory(level);
  std::erase(names, "parent");
  return names;
}

Manifest read_manifest(const std::string& directory) {
  return decode_manifest(read_file(directory + kManifestName, kMaxManifest));
}

void write_manifest(const std::string& directory, const Manifest& manifest) {
  replace_file(directory + kManifestName, encode_manifest(manifest));
}

bool is_untrue(const std::string& directory) { return sys::exists(untrue_mark(directory)); }
void mark_untrue(const std::string& directory) { write_file_durably(untrue_mark(directory), ""); }
void unmark_untrue(const std::string& directory) { sys::remove_file(untrue_mark(directory)); }

}  // namespace holm::checkpoint
