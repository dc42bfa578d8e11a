// The confinement slice of the spec.
#pragma once

#include <sys/resource.h>

#include <map>
#include <string>
#include <vector>

namespace holm::isolation {

struct SecuritySpec {
  bool user_namespace = true;
  // Changes to the default bounding set, as written: "+net_raw", "-mknod".
  std::vector<std::string> capabilities;
  // "default"; nothing else in this version.
  std::string seccomp = "default";
  // Lets the payload use io_uring (which CRIU cannot dump).
  bool allow_io_uring = false;
  bool migratable = true;
};

// Resource limits by their setrlimit(2) name in lower case without RLIMIT_: "nofile" -> 65536.
using ResourceLimits = std::map<std::string, rlim_t>;

// "nofile" -> RLIMIT_NOFILE; -1 where there is no such limit.
int resource_limit_number(const std::string& name);
std::vector<std::string_view> resource_limit_names();

// The number of a capability "net_raw" or "CAP_NET_RAW"; -1 where the running libcap knows none.
int capability_number(const std::string& name);

}  // namespace holm::isolation
