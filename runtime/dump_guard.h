// A process that puts a container right should the command die that is saving it.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/unique_fd.h"
#include "runtime/container_store.h"

namespace holm::runtime {

// In its scope the calling process may leave the container frozen and its links silent, having the lock.
// Where it is killed the guard does what the next command would, as soon as the lock is free, which CRIU
// holds, too.
class DumpGuard {
 public:
  DumpGuard(const Installation& installation, const std::string& name);
  ~DumpGuard();
  DumpGuard(const DumpGuard&) = delete;
  DumpGuard& operator=(const DumpGuard&) = delete;

 private:
  UniqueFd alive_;  // the end of this pipe is the end of our process
  UniqueFd process_;
};

}  // namespace holm::runtime
