// Thin wrappers around system calls: each throws holm::Error naming the call's object, and returns owned
// handles. Everything that is opened here is close-on-exec.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/unique_fd.h"

namespace holm::sys {

// --- files. `directory` may be AT_FDCWD.
UniqueFd open(const std::string& path, int flags, mode_t mode = 0);
UniqueFd open_at(int directory, const std::string& name, int flags, mode_t mode = 0);
// Nothing where the file is not there (ENOENT).
std::optional<UniqueFd> open_if_exists(const std::string& path, int flags);

// How openat2(2) confines a lookup; magic links are never followed.
enum class Confine {
  in_root,         // the directory is "/" for the path: links stay inside (RESOLVE_IN_ROOT)
  beneath,         // the path must not leave the directory (RESOLVE_BENEATH)
  in_root_nolink,  // as in_root, and no component may be a symbolic link (RESOLVE_NO_SYMLINKS)
};
// Throws; error_number() tells ENOENT, ELOOP, EXDEV, ... apart.
UniqueFd open_confined(int directory, const std::string& path, int flags, Confine confine, mode_t mode = 0);

struct stat stat_fd(int fd, std::string_view name);
// lstat(2); nothing where the path does not exist.
std::optional<struct stat> stat_path(const std::string& path);
bool exists(const std::string& path);

void make_directory(const std::string& path, mode_t mode);
// Makes `path` and its parents; an existing directory is fine.
void make_directories(const std::string& path, mode_t mode);
void make_directory_at(int directory, const std::string& name, mode_t mode);
void rename(const std::string& from, const std::string& to);
// Gives a file that was opened with O_TMPFILE a name.
void link_fd(int fd, const std::string& to);
// Fails with EEXIST where `to` exists.
void rename_new(const std::string& from, const std::string& to);
// False where there was nothing to remove.
bool remove_file(const std::string& path);
// False where there was nothing to remove; throws where it is not empty.
bool remove_directory(const std::string& path);
// Removes a whole tree without following any link and without leaving its file system's mount; false where
// there was none.
bool remove_tree(const std::string& path);
void chown_fd(int fd, uid_t uid, gid_t gid, std::string_view name);
void chown_path(const std::string& path, uid_t uid, gid_t gid);  // does not follow a final link
void chmod_fd(int fd, mode_t mode, std::string_view name);
void sync_fd(int fd, std::string_view name);
std::string read_link(const std::string& path);

UniqueFd duplicate(int fd);

// Writes all of `data`; `name` is for the message.
void write_all(int fd, std::string_view data, std::string_view name);
void set_nonblocking(int fd);
void set_close_on_exec(int fd, bool on);

// --- channels
struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};
Pipe pipe();
std::pair<UniqueFd, UniqueFd> socket_pair(int type);  // AF_UNIX, close-on-exec

// --- processes
UniqueFd pidfd_open(pid_t pid);
// Nothing where the process is gone (ESRCH).
std::optional<UniqueFd> pidfd_open_if_alive(pid_t pid);
// False where the process is gone.
bool pidfd_signal(int pidfd, int signal);
// True when the process behind the pidfd has ended within the time.
bool pidfd_wait_ended(int pidfd, std::chrono::milliseconds timeout);
void set_namespaces(int fd, int namespaces, std::string_view name);  // setns(2)
void unshare(int namespaces, std::string_view what);
// Signal actions, signal mask and file mode mask as a fresh process has them, not as whoever started this one
// (nohup(1), a login's umask) left them. Only makes system calls: also for between fork and exec.
void reset_inherited();
// Closes all descriptors from `first` to `last`; without `last`, all from `first` on.
void close_range(unsigned first, unsigned last = ~0U);
// Marks all descriptors from `first` on as close-on-exec.
void close_on_exec_from(unsigned first);

}  // namespace holm::sys
