// What makes a booting systemd keep its services in a form that can be dumped, given to it from outside of
// the image.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace holm::runtime {

// The text of the drop-in for all services: nothing that CRIU cannot dump is made for them. `version`:
// systemd's, which complains about settings that it does not know.
std::string service_rules(unsigned version);

// The version in a name such as "libsystemd-shared-252.so" or "libsystemd-shared-257.7-1.so"; nothing in
// others.
std::optional<unsigned> systemd_version_in(const std::string& library);

// Where the root has a systemd: mounts a tmpfs on its /run, as systemd would, with the drop-in in it. The
// image keeps all of its files. Nothing is done elsewhere. Runs in: the container's namespaces, before the
// root switch; `root` is open.
void give_service_rules(int root);

}  // namespace holm::runtime
