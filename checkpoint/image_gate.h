// What stands between images that anybody may have made and CRIU, which does as root whatever they say.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "quotas/cgroup.h"
#include "runtime/container_store.h"

namespace holm::checkpoint {

// Makes the images say what this host grants the container: its id map, its place among the cgroups, its
// system call filter. Throws where they ask for more than a container has: processes outside of its
// namespaces, capabilities beyond its bounding set, no filter, mounts from outside that are none of
// `externals`; and where their pages are not all there.
void rewrite_images(const std::string& images, const runtime::StoredContainer& container,
                    const quotas::Cgroup& cgroup, const std::vector<ExternalMount>& externals);

}  // namespace holm::checkpoint
