// Runs a piece of a test in a child process: what is tested there cannot be undone.
#pragma once

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"

namespace holm::test {

// What `body` returns as text, or "error: MESSAGE" where it throws, or "signal N" where it dies.
template <class Body>
std::string in_child(Body body) {
  sys::Pipe pipe = sys::pipe();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::string text;
    try {
      text = body();
    } catch (const Error& error) {
      text = "error: " + error.report();
    }
    ignore_errors(
        [&] { sys::write_all(pipe.write_end.get(), text, "pipe"); });  // the parent then sees no text
    ::_exit(0);
  }
  pipe.write_end.reset();
  const std::string text = read_fd(pipe.read_end.get(), "pipe");
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status)) : text;
}

}  // namespace holm::test
