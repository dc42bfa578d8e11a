// A system call filter as BPF: built from intervals of call numbers, and run on paper to prove it.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstdint>
#include <map>
#include <vector>

#include "isolation/seccomp_policy.h"

namespace holm::seccomp_compile {

// What happens to one call of one architecture.
struct Verdict {
  uint32_t action = SECCOMP_RET_ERRNO;            // a SECCOMP_RET_ value
  const isolation::ArgumentRule* rule = nullptr;  // decides instead of `action` where it is set
  bool operator==(const Verdict&) const = default;
};

// The verdicts of one architecture by call number; a number that is not there is `unknown`.
struct Architecture {
  uint32_t audit_number = 0;  // AUDIT_ARCH_
  std::map<uint32_t, Verdict> calls;
};

using Program = std::vector<sock_filter>;

// libseccomp would build this too, but cannot say "all values of an argument but these two, looking at its
// low half", nor name a call that is newer than itself in the filter of a second architecture; and it tests
// numbers one by one where this tests intervals, which makes its programs several times as long to load at
// each start.
Program build_program(const std::vector<Architecture>& architectures, const Verdict& unknown);

// What the kernel would answer: runs the program on one call.
uint32_t run_program(const Program& program, const seccomp_data& call);

}  // namespace holm::seccomp_compile
