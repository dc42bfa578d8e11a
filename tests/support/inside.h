// Short ways to look into a running container and to put adversaries there.
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/sys.h"
#include "base/text.h"
#include "tests/support/holm_runner.h"
#include "tests/support/slow_host.h"

namespace holm::test {

// `holm exec NAME /bin/sh -c SCRIPT`; a CHECK fails where the shell did not even run.
inline Result inside(const Installation& installation, const std::string& name, const std::string& script) {
  Result result = installation.holm({"exec", name, "/bin/sh", "-c", script});
  CHECK_MESSAGE((result.status != 125 && result.status != 127), "in ", name, ": ", script, ": ",
                result.errors);
  return result;
}

// What a script inside says, without the last line's end.
inline std::string answer(const Installation& installation, const std::string& name,
                          const std::string& script) {
  return std::string(trim(inside(installation, name, script).out));
}

// A program that was built beside this test's.
inline std::string built_program(const std::string& name) {
  const std::string self = sys::read_link("/proc/self/exe");
  return self.substr(0, self.rfind('/') + 1) + name;
}

inline std::string mount_entry(const std::string& source, const std::string& target) {
  return "[[mount]]\nsource = \"" + source + "\"\ntarget = \"" + target + "\"\nreadonly = true\n";
}

// The config lines that put the probe at /probe.
inline std::string with_probe() { return mount_entry(built_program("container_probe"), "/probe"); }

// `holm WORDS...`, killed after `limit` seconds; how long it took is in `seconds`.
struct TimedResult : Result {
  double seconds = 0;
};
inline TimedResult holm_timed(const Installation& installation, const std::vector<std::string>& words,
                              const std::string& limit = std::to_string(10 * patience())) {
  std::vector<std::string> command = {"timeout", "--signal=KILL", limit, holm_program()};
  command.insert(command.end(), words.begin(), words.end());
  const auto begin = std::chrono::steady_clock::now();
  TimedResult result = {run_host(command, installation.environment())};
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace holm::test
