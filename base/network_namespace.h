// Work in another network namespace.
#pragma once

#include <sched.h>

#include <future>

#include "base/sys.h"

namespace holm {

// Calls `body` in a thread of its own that has entered the namespace, and returns what it returns: nobody
// must come back from there, and sockets belong to the namespace that they were made in.
template <class Body>
auto in_network_namespace(int network_namespace, const Body& body) {
  return std::async(std::launch::async,
                    [&] {
                      sys::set_namespaces(network_namespace, CLONE_NEWNET,
                                          "the container's network namespace");
                      return body();
                    })
      .get();
}

}  // namespace holm
