#include "storage/root_check.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>

#include <memory>
#include <vector>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm::storage {
namespace {

constexpr const char* kProgramDirectories[] = {"/bin", "/sbin", "/usr/bin", "/usr/sbin"};

bool is_in_root(int root, const std::string& path, int kind) {
  try {
    // O_PATH never waits for a FIFO's other end or a device.
    sys::open_confined(root, path, O_PATH | kind, sys::Confine::in_root);
    return true;
  } catch (const Error&) {
    return false;  // not there, not of that kind, or a link that leads nowhere: all the same here
  }
}

bool has_programs(int root) {
  for (const char* path : kProgramDirectories) {
    if (is_in_root(root, path, O_DIRECTORY)) return true;
  }
  return false;
}

// At most a few names: a directory of a million is not read for a hint.
std::vector<std::string> first_names(int root) {
  std::vector<std::string> names;
  UniqueFd fd = sys::open_confined(root, ".", O_RDONLY | O_DIRECTORY, sys::Confine::beneath);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
  if (!stream) return names;
  fd.release();
  while (names.size() < 16) {
    const dirent* entry = ::readdir(stream.get());
    if (!entry) break;
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  return names;
}

std::string hint_for(int root) {
  const std::vector<std::string> names = first_names(root);
  if (names.empty()) return "it is empty";
  if (names.size() == 1 && is_in_root(root, "/" + names[0], O_DIRECTORY | O_NOFOLLOW)) {
    const UniqueFd inner =
        sys::open_confined(root, names[0], O_PATH | O_DIRECTORY | O_NOFOLLOW, sys::Confine::beneath);
    if (has_programs(inner.get()))
      return fmt::format(
          "everything lies below '{0}/': name that directory, or pack the archive inside it: tar -C {0} -cf "
          "FILE .",
          printable(names[0]));
  }
  if (is_in_root(root, "/manifest.json", 0) || is_in_root(root, "/oci-layout", 0))
    return "it is an image made of layers; import the whole root file system, as 'docker export' writes it";
  return "a container's root needs the directories that a system has at '/'";
}

}  // namespace

void check_root_file_system(int root_fd, const std::string& name) {
  if (has_programs(root_fd)) return;
  Error error(
      fmt::format("'{}' is not a root file system: no /bin, /sbin, /usr/bin or /usr/sbin in it", name));
  ignore_errors([&] { error.hint(hint_for(root_fd)); });  // the error stands without it
  throw error;
}

}  // namespace holm::storage
