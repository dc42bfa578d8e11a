// How a process ended, for its parent and for others.
#pragma once

#include "runtime/exit_record.h"

namespace holm::runtime {

enum class Parent { us, another };

// Collects the end of the process behind `pidfd`, which has ended. A process that is not our child is known
// only where the kernel keeps the exit status in the pidfd (PIDFD_INFO_EXIT, Linux 6.15) and it has been
// reaped.
InitEnd collect_end(int pidfd, Parent parent);

}  // namespace holm::runtime
