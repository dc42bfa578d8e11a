#include "quotas/pty_facts.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/unique_fd.h"

namespace holm::quotas {
namespace {

constexpr size_t kMaxMountinfo = 16 << 20;

// Only a path, and only through what the kernel has in its cache (RESOLVE_CACHED): a FUSE server of the
// payload's is never asked, and so cannot keep us waiting. Closed where that does not lead there.
UniqueFd open_cached(int root, const char* path) {
  struct open_how how = {};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_CACHED;
  for (int attempt = 0;; ++attempt) {
    const long fd = ::syscall(SYS_openat2, root, path, &how, sizeof how);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    if (errno != EAGAIN || attempt >= 16) return {};  // EAGAIN: also for a rename beside the lookup
  }
}

// statx(2) would ask the file system.
std::optional<uint64_t> mount_id_of(int fd) {
  for (const std::string& line : split(read_file(fmt::format("/proc/self/fdinfo/{}", fd)), '\n'))
    if (line.starts_with("mnt_id:")) return parse_unsigned(trim(line.substr(7)));
  return std::nullopt;
}

uint64_t count_numbers(UniqueFd directory) {
  uint64_t count = 0;
  DIR* stream = directory ? ::fdopendir(directory.get()) : nullptr;
  if (!stream) return 0;
  directory.release();  // the stream's now
  while (const dirent* entry = ::readdir(stream)) count += parse_unsigned(entry->d_name) ? 1 : 0;
  ::closedir(stream);
  return count;
}

}  // namespace

std::optional<std::string> devpts_options(std::string_view mountinfo, uint64_t mount_id) {
  for (const std::string& line : split(mountinfo, '\n')) {
    const std::vector<std::string> fields = split(line, ' ');
    if (parse_unsigned(fields.empty() ? "" : fields[0]) != mount_id) continue;
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.end() - dash < 4 || *(dash + 1) != "devpts") return std::nullopt;
    return *(dash + 3);
  }
  return std::nullopt;
}

bool add_pty_facts(pid_t init, Facts& facts) {
  const UniqueFd root(::open(fmt::format("/proc/{}/root", init).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const UniqueFd place = root ? open_cached(root.get(), "dev/pts") : UniqueFd();
  if (!place) return true;
  const auto mount_id = mount_id_of(place.get());
  std::optional<std::string> mounts;
  try {
    mounts = read_file_if_exists(fmt::format("/proc/{}/mountinfo", init), kMaxMountinfo);
  } catch (const Error& error) {
    if (error.error_number() != 0) throw;
    return false;  // the payload can mount more than anybody wants to read
  }
  const auto options = mount_id && mounts ? devpts_options(*mounts, *mount_id) : std::nullopt;
  if (!options) return true;
  facts.ptys = count_numbers(UniqueFd(::openat(place.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  for (const std::string& option : split(*options, ','))
    if (option.starts_with("max=")) facts.ptys_limit = parse_unsigned(option.substr(4));
  return true;
}

}  // namespace holm::quotas
