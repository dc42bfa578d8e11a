// SIGINT, SIGTERM and SIGHUP as Errors, for work that must be undone where it is given up.
#pragma once

#include <csignal>

namespace holm {

// In its scope, in this thread and in those that it starts, the signals wait until somebody looks; one that
// nobody looked at takes effect at the end of the outermost scope.
class Interruption {
 public:
  Interruption();
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  // Readable when one has come; -1 outside of a scope.
  static int fd();
  // Throws where one has come, at each call from then on; never outside of a scope.
  static void check();
  // Whether one was ever found by `check`, or by this.
  static bool has_come();

 private:
  sigset_t before_;
};

}  // namespace holm
