// The rights that images give to processes, cut down to those that a container gets today. Not for other
// folders.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <map>
#include <set>
#include <string_view>

#include "isolation/capabilities.h"
#include "runtime/spec.h"

namespace holm::checkpoint {

namespace images {
class Core;
class SeccompFilters;
}  // namespace images

// What a process of the container may have at most.
struct ProcessRights {
  isolation::CapabilitySet bounding;
  std::map<int, rlimit> limits;  // by number; hard ones are bounds
  bool no_new_privs = false;
  std::string_view filter;  // the first system call filter of each process
};
ProcessRights process_rights(const runtime::ContainerSpec& spec);

// The filters, by number, that were installed first, one for each chain that a thread has.
using SeccompRoots = std::set<uint32_t>;

// Adds the thread's to `roots`. Throws for a process without a filter; a thread has its process's where it
// has none itself.
void reduce_process(images::Core& core, const ProcessRights& rights, SeccompRoots& roots);

// Puts the container's filter in their place: the kernel asks all of a chain, so nothing of it can give more.
// Throws where there is no such filter, or a chain does not end.
void rewrite_filters(images::SeccompFilters& filters, const ProcessRights& rights, const SeccompRoots& roots);

}  // namespace holm::checkpoint
