#include "checkpoint/files.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/statvfs.h>

#include <cerrno>

#include "base/error.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"
#include "storage/unpack_program.h"

namespace holm::checkpoint {
namespace {

constexpr uint64_t kNoRoom = 64 << 10;  // tar's own words do not tell what a short write means

}  // namespace

void archive_files(const runtime::Paths& paths, const std::string& container, const std::string& directory) {
  const std::string archive = fmt::format("{}/{}", directory, kFilesPart);
  // tar leaves out sockets that nobody listens on any more; those that are in use CRIU makes again.
  const ProgramResult result = run_program(
      {"tar", "--create", "--format=pax", "--numeric-owner", "--sparse", "--xattrs", "--xattrs-include=*",
       "--one-file-system", "--file", archive, "--directory", paths.container(container) + "/upper", "."});
  struct statvfs space = {};
  const bool is_full = ::statvfs(directory.c_str(), &space) == 0 && space.f_bavail * space.f_frsize < kNoRoom;
  if (result.exit_status != 0 && is_full)
    throw Error::system(ENOSPC, fmt::format("archive the container's files in '{}'", directory));
  if (result.exit_status != 0)
    throw Error(
        fmt::format("archive the container's files: {}", printable(trim(result.errors).substr(0, 400))));
  const UniqueFd fd = sys::open(archive, O_RDONLY | O_NOFOLLOW);
  sys::chmod_fd(fd.get(), 0600, archive);
}

void unpack_files(const std::string& directory, const Manifest& manifest,
                  const runtime::StoredContainer& container, const std::string& upper) {
  const std::string archive = fmt::format("{}/{}", directory, kFilesPart);
  const UniqueFd source = sys::open(archive, O_RDONLY | O_NOFOLLOW);
  const UniqueFd target = sys::open(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const uint32_t first = container.config.spec.security.user_namespace ? container.identity.ids.first : 0;
  storage::run_unpack_program(storage::ImportSource::changes, source.get(), target.get(),
                              storage::kDefaultMaxImportBytes, storage::kDefaultMaxImportEntries,
                              {true, manifest.first_id, first});
}

}  // namespace holm::checkpoint
