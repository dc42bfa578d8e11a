#include "runtime/cleanup.h"

#include <chrono>

#include "base/step.h"
#include "netsetup/container_link.h"
#include "runtime/account.h"
#include "runtime/host_side.h"

namespace holm::runtime {

LastLook last_look_of(const Paths& paths, const std::string& name) {
  return [paths, name] { take_last_sample(paths, name); };
}

void remove_kernel_objects(const Paths& paths, uint32_t number, const LastLook& last_look, Links links) {
  const auto cgroup = container_cgroup(paths, number);
  if (cgroup->exists()) {
    step("kill processes", [&] { cgroup->kill_all(std::chrono::seconds(10)); });
    if (last_look) last_look();
    step("remove cgroup", [&] { cgroup->remove(); });
  }
  if (links == Links::leave_to_kernel) return;
  step("remove links", [&] {
    for (const auto& link : netsetup::list_links(paths.veth(number))) {
      if (paths.number_of_veth(link.name) == number) netsetup::detach(link.name);
    }
  });
}

}  // namespace holm::runtime
