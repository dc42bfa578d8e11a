#include "runtime/host_side.h"

#include "base/step.h"
#include "quotas/device_rule.h"
#include "runtime/container_limits.h"

namespace holm::runtime {

std::unique_ptr<quotas::Cgroup> container_cgroup(const Paths& paths, uint32_t number) {
  return quotas::make_cgroup(quotas::detect_cgroup_layout(), paths.cgroup_parent(), number);
}

HostSide make_host_side(const Installation& installation, const StoredContainer& container, UndoStack& undo) {
  const ContainerSpec& spec = container.config.spec;
  HostSide side;
  side.cgroup_layout = quotas::detect_cgroup_layout();
  side.cgroup =
      quotas::make_cgroup(side.cgroup_layout, installation.paths.cgroup_parent(), container.identity.number);
  quotas::Cgroup& cgroup = *side.cgroup;
  step("make cgroup", [&] { cgroup.create(); });
  undo.push("remove cgroup", [&installation, number = container.identity.number] {
    container_cgroup(installation.paths, number)->remove();
  });
  step("write limits", [&] { side.warnings = apply_limits(installation.paths, spec, cgroup); });
  step("restrict devices", [&] { cgroup.restrict_devices(quotas::default_device_rules()); });
  step("delegate cgroup", [&] {
    const uint32_t owner = spec.security.user_namespace ? container.identity.ids.first : 0;
    cgroup.delegate(owner, owner);
  });
  step("plan network", [&] { side.network = plan_network(installation, container); });
  return side;
}

}  // namespace holm::runtime
