// Whole files: reading with a bound, and writing so that a reader or a crash never sees half of one.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace holm {

inline constexpr size_t kMaxSmallFile = 1 << 20;

// What must be true of a change when it is made.
enum class Durability {
  survives_crash,  // it is on disk
  until_reboot,    // whole for readers; a crash of the machine may lose it
};

// The whole file; throws where it is larger than `limit` bytes. Also for /proc and cgroup files, whose size
// is unknown.
std::string read_file(const std::string& path, size_t limit = kMaxSmallFile);
std::string read_fd(int fd, std::string_view name, size_t limit = kMaxSmallFile);
// Nothing where the file is not there.
std::optional<std::string> read_file_if_exists(const std::string& path, size_t limit = kMaxSmallFile);

// Writes to an existing file in one write(2), as kernel control files want it.
void write_control_file(const std::string& path, std::string_view value);

// Temporary file, fsync, rename, fsync of the directory: after a crash either the old or the new content is
// there.
void write_file_durably(const std::string& path, std::string_view content, mode_t mode = 0600);
// The same without the two syncs: whole for readers, for files that need not outlive the machine (below
// /run).
void replace_file(const std::string& path, std::string_view content, mode_t mode = 0600);

// Whether no process has this pid, which stands in the name of a temporary file: it was left then.
bool is_left_by(std::string_view pid);

// Removes what killed processes were writing in this directory with the two above.
void remove_unfinished(const std::string& directory);

// Names in a directory without "." and "..", sorted; none where the directory is not there.
std::vector<std::string> list_directory(const std::string& path);

// Syncs a directory, so that names made or removed in it outlive a crash.
void sync_directory(const std::string& path);
// The directory that a path's last part is in: "." of a name alone.
std::string parent_of(const std::string& path);

// Opens a regular file of at most 1 MiB below a container's root (`root`: directory fd) and reads it; links
// stay inside the root, FIFOs and devices are refused. Nothing where it does not exist.
std::optional<std::string> read_file_in_root(int root, const std::string& path);

}  // namespace holm
