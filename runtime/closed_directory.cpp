#include "runtime/closed_directory.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/error.h"
#include "base/sys.h"

namespace holm::runtime {
namespace {

bool lets_only_root_through(const struct stat& status) {
  if (!S_ISDIR(status.st_mode) || status.st_uid != 0) return false;
  const bool group_enters = (status.st_mode & S_IXGRP) != 0 && status.st_gid != 0;
  return (status.st_mode & S_IXOTH) == 0 && !group_enters;
}

}  // namespace

void require_closed_directory(const std::string& path) {
  std::error_code ignored;  // a path that does not resolve fails where it is opened
  for (std::filesystem::path at = std::filesystem::weakly_canonical(path, ignored);; at = at.parent_path()) {
    const auto status = sys::stat_path(at);
    if (status && lets_only_root_through(*status)) return;
    if (at == at.parent_path()) break;
  }
  throw Error(fmt::format("'{}' can be entered by other users of the host", path))
      .hint(
          "the container's root could make setuid programs there: chmod 0700 the directory or one above it, "
          "or set readonly = true");
}

}  // namespace holm::runtime
