// Marks the time in which CRIU works for a monitor, so that what CRIU has begun does not outlive both.
#pragma once

#include <string>

#include "runtime/container_store.h"

namespace holm::runtime {

// What CRIU and its helpers have as their standard output, below the run directory.
inline constexpr const char* kCriuOutput = "criu.out";

class RestoreMoment {
 public:
  RestoreMoment(const Paths& paths, const std::string& name);
  ~RestoreMoment();
  RestoreMoment(const RestoreMoment&) = delete;
  RestoreMoment& operator=(const RestoreMoment&) = delete;

 private:
  std::string mark_;
};

// Where a monitor is killed in such a scope, CRIU is killed with it. CRIU's children wait for it for ever
// then: they are in no group of the container's yet, and hold its file system. These are for a container
// without monitor, whose lock the caller holds.
//
// All of it is killed, and what was restored with it.
void end_forgotten_restore(const Installation& installation, const std::string& name);
// The processes are whole, and run: they stay.
void keep_forgotten_restore(const Installation& installation, const std::string& name);

}  // namespace holm::runtime
