// The system call filter of containers, compiled at build time from seccomp_policy.cpp.
#pragma once

#include <cstddef>
#include <string_view>

namespace holm::isolation {

enum class SeccompVariant { standard, with_io_uring };

// Puts the filter on the calling thread, for good and for all that it starts. The caller has no_new_privs set
// or CAP_SYS_ADMIN in its user namespace, so this comes before capabilities are given up.
void install_seccomp_filter(SeccompVariant variant);

// The filter itself: struct sock_filter after struct sock_filter.
std::string_view seccomp_filter_bytes(SeccompVariant variant);

// The number of BPF instructions.
size_t seccomp_filter_size(SeccompVariant variant);

}  // namespace holm::isolation
