// Work in another namespace.
#pragma once

#include <sched.h>

#include <future>
#include <string_view>

#include "base/sys.h"

namespace holm {

// Calls `body` in a thread of its own that has entered the namespace (of `kind`, CLONE_NEWNET or
// CLONE_NEWIPC), and returns what it returns: nobody must come back from there, and what is opened belongs to
// the namespace that it was opened in.
template <class Body>
auto in_namespace(int descriptor, int kind, std::string_view name, const Body& body) {
  return std::async(std::launch::async,
                    [&] {
                      sys::set_namespaces(descriptor, kind, name);
                      return body();
                    })
      .get();
}

template <class Body>
auto in_network_namespace(int network_namespace, const Body& body) {
  return in_namespace(network_namespace, CLONE_NEWNET, "the container's network namespace", body);
}

}  // namespace holm
