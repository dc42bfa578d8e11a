#include "isolation/seccomp_filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <span>

#include "base/error.h"

namespace holm::isolation {
namespace generated {
// Written by seccomp_compile.
extern const std::span<const sock_filter> kSeccompStandard;
extern const std::span<const sock_filter> kSeccompWithIoUring;
}  // namespace generated

namespace {

std::span<const sock_filter> program_of(SeccompVariant variant) {
  return variant == SeccompVariant::with_io_uring ? generated::kSeccompWithIoUring
                                                  : generated::kSeccompStandard;
}

}  // namespace

void install_seccomp_filter(SeccompVariant variant) {
  const std::span<const sock_filter> program = program_of(variant);
  const sock_fprog arguments = {static_cast<unsigned short>(program.size()),
                                const_cast<sock_filter*>(program.data())};
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &arguments) == 0) return;
  Error error = Error::system("install the system call filter");
  if (error.error_number() == EACCES)
    error.hint("it needs CAP_SYS_ADMIN or no_new_privs; an outer container took the former");
  if (error.error_number() == EINVAL || error.error_number() == ENOSYS)
    error.hint("the kernel is built without CONFIG_SECCOMP_FILTER");
  throw error;
}

std::string_view seccomp_filter_bytes(SeccompVariant variant) {
  const auto bytes = std::as_bytes(program_of(variant));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

size_t seccomp_filter_size(SeccompVariant variant) { return program_of(variant).size(); }

}  // namespace holm::isolation
