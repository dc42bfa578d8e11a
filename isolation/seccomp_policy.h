// The system calls that a container may make: the reviewed table. `seccomp_compile` turns it into BPF at
// build time.
//
// Three answers: a call that is listed as allowed is made; one that is refused gets EPERM (or what its rule
// says); one that no table knows gets ENOSYS, the answer of a kernel that does not have it, so that programs
// fall back.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace holm::isolation {

// Calls that may be made with any arguments. Names as libseccomp has them, separated by blanks; a name that a
// machine does not have is skipped there.
struct AllowedCalls {
  std::string_view subject;
  std::string_view calls;
};

enum class RefusedUnless { never, io_uring };

// Calls that are answered with EPERM, and why.
struct RefusedCalls {
  std::string_view why;
  std::string_view calls;
  RefusedUnless unless = RefusedUnless::never;  // the variant in which they are allowed
};

enum class OnMachines { all, x86_64 };

// Allowed calls that Debian 12's libseccomp has no name for. From 424 on a number means the same on every
// machine.
struct NumberedCall {
  std::string_view name;
  uint32_t number;
  OnMachines machines = OnMachines::all;
};

enum class Listed { allowed, refused };

// A call that depends on one argument. Only its low 32 bits are compared, because the kernel looks at no
// others of these (all are int or unsigned int): a 64-bit comparison is passed by setting a high bit
// (CVE-2019-10063).
struct ArgumentRule {
  std::string_view call;
  unsigned argument;
  Listed listed;  // what the listed values are; all others are the opposite
  std::span<const uint32_t> values;
  int error_number;
};

std::span<const AllowedCalls> allowed_calls();
std::span<const RefusedCalls> refused_calls();
std::span<const NumberedCall> numbered_calls();
std::span<const ArgumentRule> argument_rules();

}  // namespace holm::isolation
