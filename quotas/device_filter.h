// The device allow-list of cgroup v2: a program in the kernel's eBPF machine that decides each open and
// mknod. Not for other folders.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quotas/device_rule.h"

namespace holm::quotas {

// The kernel's struct bpf_insn as one number, which keeps its header out of here.
using BpfInstruction = uint64_t;

// The program for an allow-list: rule by rule, allow at the first that matches, else deny.
// Throws where a rule is not valid, or there are too many for one program.
std::vector<BpfInstruction> build_device_filter(const std::vector<DeviceRule>& rules);

// Loads the program, attaches it to the group at `directory` beside what others attached (all must allow),
// and makes sure that it is there. Programs that Holm attached to the group earlier go.
void attach_device_filter(const std::string& directory, const std::vector<DeviceRule>& rules);

}  // namespace holm::quotas
