// Advisory locks between Holm's processes.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/unique_fd.h"

namespace holm {

// An exclusive flock(2) on a lock file, which is made if need be; given back when the object or its process
// ends.
class FileLock {
 public:
  // Waits for the lock; throws with `busy_message` when it is not free within `timeout`.
  static FileLock acquire(const std::string& path, std::chrono::milliseconds timeout,
                          const std::string& busy_message);
  // Nothing where somebody else holds it.
  static std::optional<FileLock> try_acquire(const std::string& path);
  int fd() const { return fd_.get(); }

 private:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace holm
