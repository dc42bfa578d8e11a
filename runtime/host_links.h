// What went through the links of containers.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "netsetup/traffic.h"
#include "quotas/counters.h"
#include "runtime/paths.h"

namespace holm::runtime {

struct LinkTraffic {
  std::string link;           // the host's end: "hm7"
  int index = 0;              // never that of a later link before the host is booted again
  netsetup::Traffic traffic;  // as the container sees it
};
// The links of all containers, as they are when it is made.
class HostLinks {
 public:
  explicit HostLinks(const Paths& paths);
  std::vector<LinkTraffic> of(uint32_t number) const;

 private:
  std::multimap<uint32_t, LinkTraffic> links_;
};

// A container's links under the names of its interfaces, in the order of its config. What a start left out
// (other modes than nat have no link of the container's own) is left out here.
std::vector<quotas::Traffic> interface_traffic(const Paths& paths, uint32_t number,
                                               const std::vector<LinkTraffic>& links,
                                               const std::vector<std::string>& interfaces);

}  // namespace holm::runtime
