// The processes of a running container, from the host's /proc.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/unit.h"
#include "runtime/container_store.h"

namespace holm::runtime {

struct ContainerProcess {
  pid_t pid = 0;            // on the host
  pid_t container_pid = 0;  // inside
  uid_t uid = 0;            // inside
  char state = '?';         // as in ps(1)
  Bytes resident;
  double cpu_seconds = 0;
  unsigned last_cpu = 0;  // where it ran last
  std::string command;    // the container's own words, not yet made safe for a terminal
};

// Those in the container's cgroup; processes that end meanwhile are left out. Throws where it is not running.
std::vector<ContainerProcess> container_processes(const Installation& installation,
                                                  const StoredContainer& container);

}  // namespace holm::runtime
