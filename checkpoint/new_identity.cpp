#include "checkpoint/new_identity.h"

#include "base/namespace_thread.h"
#include "netsetup/process_sockets.h"

namespace holm::checkpoint {

void give_new_identity(int network_namespace, const std::vector<pid_t>& processes,
                       const std::vector<netsetup::LinkPlan>& links) {
  std::vector<netsetup::InterfaceAddress> old;
  in_network_namespace(network_namespace, [&] {
    for (const netsetup::LinkPlan& link : links)
      for (const auto& address : netsetup::renumber_inside(link)) old.push_back(address);
  });
  netsetup::drop_connections(processes, old);
}

}  // namespace holm::checkpoint
