// What of the host and of the container's config keeps CRIU from working at all. Not for other files.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/preflight_finding.h"

namespace holm::checkpoint {

struct HostNeeds {
  bool has_network = false;  // a network namespace of the container's
  bool has_tmpfs = false;
  bool has_iptables = false;  // rules of the old kind, which are no nftables
  bool has_internet_sockets = false;
  bool has_ping_sockets = false;  // ICMP without being raw
};

// "4.2.1", "6.18.44-cloud": nothing where the one can do on the other what is needed.
std::optional<Finding> judge_criu(std::string_view version, std::string_view kernel, const HostNeeds& needs);
// The version of the program: from what scripts/setup noted beside it, which costs nothing, else asked of it.
std::string find_criu_version(const std::string& program);

// CRIU, the programs that it calls, and what the kernel must have.
std::vector<Finding> judge_host(const HostNeeds& needs);

// Whether this process may read the limits of processes of other users.
bool may_read_limits();

}  // namespace holm::checkpoint
