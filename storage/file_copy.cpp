#include "storage/file_copy.h"

#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/sys.h"

namespace holm::storage {
namespace {

constexpr size_t kStep = 1 << 20;

// copy_file_range(2) refuses some pairs of file systems, and some files whose size is a lie.
bool must_go_through_memory(int error_number) {
  return error_number == EXDEV || error_number == EINVAL || error_number == ENOSYS ||
         error_number == EOPNOTSUPP || error_number == EPERM;
}

// At most `size` bytes at `offset`; 0 at the end of the file.
size_t copy_some(int from, int to, off_t offset, size_t size, std::string_view name) {
  off_t source = offset;
  off_t target = offset;
  const ssize_t copied = ::copy_file_range(from, &source, to, &target, size, 0);
  if (copied > 0) return static_cast<size_t>(copied);
  if (copied < 0 && !must_go_through_memory(errno)) throw Error::system(fmt::format("copy '{}'", name));
  char buffer[65536];
  const ssize_t got = ::pread(from, buffer, std::min(size, sizeof buffer), offset);
  if (got < 0) throw Error::system(fmt::format("read '{}'", name));
  for (ssize_t done = 0; done < got;) {
    const ssize_t put = ::pwrite(to, buffer + done, static_cast<size_t>(got - done), offset + done);
    if (put < 0) throw Error::system(fmt::format("write '{}'", name));
    done += put;
  }
  return static_cast<size_t>(got);
}

void copy_extent(int from, int to, off_t begin, off_t end, std::string_view name,
                 const std::function<void(uint64_t)>& before_write) {
  for (off_t offset = begin; offset < end;) {
    const size_t step = std::min(kStep, static_cast<size_t>(end - offset));
    before_write(step);
    const size_t copied = copy_some(from, to, offset, step, name);
    if (copied == 0) return;  // the file was shortened meanwhile
    offset += static_cast<off_t>(copied);
  }
}

}  // namespace

void copy_content(int from, int to, std::string_view name,
                  const std::function<void(uint64_t)>& before_write) {
  const off_t size = sys::stat_fd(from, name).st_size;
  if (size == 0) return;
  if (::ioctl(to, FICLONE, from) == 0) {
    before_write(static_cast<uint64_t>(size));
    return;
  }
  for (off_t offset = 0; offset < size;) {
    off_t begin = ::lseek(from, offset, SEEK_DATA);
    if (begin < 0 && errno == ENXIO) break;  // a hole up to the end
    if (begin < 0) begin = offset;           // a file system that cannot tell
    off_t end = ::lseek(from, begin, SEEK_HOLE);
    if (end < 0) end = size;
    copy_extent(from, to, begin, std::min(end, size), name, before_write);
    offset = end;
  }
  if (::ftruncate(to, size) != 0) throw Error::system(fmt::format("set size of '{}'", name));
}

}  // namespace holm::storage
