// Work that is done as a container's root, within its namespaces.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace holm::checkpoint {

// Calls `body` in a child, as nobody comes back from a user namespace, and what is read there is not ours.
// Throws what it threw, or that the child was killed. `what`: what it does, for messages. Where our process
// is killed the child comes to its end by itself.
void in_child(std::string_view what, const std::function<void()>& body);

// The root of that user namespace, and nobody on the host.
void become_root_of(int user_namespace);

// Some of a process's namespaces, to be entered by a child when it can open nothing of the host's any more.
class ContainerNamespaces {
 public:
  // `kind`: "net", "ipc".
  ContainerNamespaces(pid_t process, const std::string& kind);
  // As the root of its user namespace where that is not ours.
  void enter() const;

 private:
  UniqueFd user_, other_;
};

}  // namespace holm::checkpoint
