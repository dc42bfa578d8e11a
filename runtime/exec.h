// Another process in a running container.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/container_store.h"

namespace holm::runtime {

struct ExecOptions {
  std::string name;
  std::vector<std::string> arguments;  // empty: the user's login shell
  std::string user = "root";
  std::string workdir = "/";
  std::map<std::string, std::string> environment;
  bool terminal = false;  // a pty of the container's own devpts; otherwise pipes
};

// Runs it to its end with the command's standard streams; its exit status, 128 + signal, or throws with exit
// status 125 (Holm), 126 (not executable), 127 (not found). The new process has the rights of the container's
// payload, no more. The caller's program must be protected (isolation/protected_program.h).
int exec_in_container(const Installation& installation, const ExecOptions& options);

}  // namespace holm::runtime
