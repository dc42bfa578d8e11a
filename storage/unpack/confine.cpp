#include "storage/unpack/confine.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>

#include "base/error.h"
#include "base/step.h"
#include "base/sys.h"
#include "storage/entry_rules.h"

#ifdef __SANITIZE_ADDRESS__
// The leak check at the end needs /proc, which is out of reach by then.
extern "C" const char* __asan_default_options();
extern "C" __attribute__((used, visibility("default"))) const char* __asan_default_options() {
  return "detect_leaks=0";
}
#endif

namespace holm::unpack {
namespace {

// The sanitizers reserve terabytes of address space and look at their own process with system calls of all
// kinds: a build with them tests everything but these two walls.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Setting owners (CHOWN), writing where modes do not allow it (DAC_OVERRIDE), changing modes and times of
// others' files (FOWNER), keeping set-id bits (FSETID), file capabilities (SETFCAP). Not MKNOD: no device
// comes out of an archive.
constexpr int kCapabilities[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP};

// Reading, writing and making files by descriptor; memory; nothing else. openat2 and openat reach only what
// is below the new root. There is no execve and (below) no executable mapping, so nothing in an archive can
// be run or loaded by a library that looks for its plug-ins under the new root (CVE-2019-14271).
constexpr int kSystemCalls[] = {
    SCMP_SYS(read),           SCMP_SYS(write),           SCMP_SYS(pread64),         SCMP_SYS(pwrite64),
    SCMP_SYS(readv),          SCMP_SYS(writev),          SCMP_SYS(lseek),           SCMP_SYS(close),
    SCMP_SYS(fcntl),          SCMP_SYS(copy_file_range), SCMP_SYS(mknodat),         SCMP_SYS(openat),
    SCMP_SYS(openat2),        SCMP_SYS(mkdirat),         SCMP_SYS(unlinkat),        SCMP_SYS(linkat),
    SCMP_SYS(symlinkat),      SCMP_SYS(readlinkat),      SCMP_SYS(fstat),           SCMP_SYS(newfstatat),
    SCMP_SYS(statx),          SCMP_SYS(getdents64),      SCMP_SYS(fchown),          SCMP_SYS(fchownat),
    SCMP_SYS(fchmod),         SCMP_SYS(ftruncate),       SCMP_SYS(utimensat),       SCMP_SYS(fsetxattr),
    SCMP_SYS(fgetxattr),      SCMP_SYS(flistxattr),      SCMP_SYS(fadvise64),       SCMP_SYS(brk),
    SCMP_SYS(munmap),         SCMP_SYS(mremap),          SCMP_SYS(madvise),         SCMP_SYS(futex),
    SCMP_SYS(getrandom),      SCMP_SYS(clock_gettime),   SCMP_SYS(gettimeofday),    SCMP_SYS(time),
    SCMP_SYS(exit),           SCMP_SYS(exit_group),      SCMP_SYS(rt_sigreturn),    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(getpid),          SCMP_SYS(gettid),          SCMP_SYS(tgkill),
    SCMP_SYS(kill),           SCMP_SYS(sched_yield),     SCMP_SYS(restart_syscall),
};

void change_root(int target) {
  if (::fchdir(target) != 0 || ::chroot(".") != 0)
    throw Error::system("make the target directory the root").hint("importing needs root on the host");
}

void limit(__rlimit_resource_t resource, rlim_t value, const char* name) {
  const rlimit bound = {value, value};
  if (::setrlimit(resource, &bound) != 0) throw Error::system(std::string("limit ") + name);
}

void set_limits(uint64_t max_bytes) {
  if (!kSanitized) limit(RLIMIT_AS, storage::kMaxUnpackMemory, "memory");
  limit(RLIMIT_FSIZE, max_bytes, "file size");
  limit(RLIMIT_CORE, 0, "core size");
  limit(RLIMIT_NOFILE, 1024, "descriptors");
  ::signal(SIGXFSZ, SIG_IGN);  // the write fails with EFBIG instead
}

void drop_capabilities(bool with_trusted) {
  uint64_t kept = with_trusted ? 1ULL << CAP_SYS_ADMIN : 0;
  for (const int capability : kCapabilities) kept |= 1ULL << capability;
  for (int capability = 0; capability <= 63; ++capability) {
    // EINVAL: the kernel has fewer.
    if (!(kept >> capability & 1) && ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EINVAL)
      throw Error::system("drop capabilities");
  }
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  data[0].effective = data[0].permitted = static_cast<uint32_t>(kept);
  data[1].effective = data[1].permitted = static_cast<uint32_t>(kept >> 32);
  if (::syscall(SYS_capset, &header, data) != 0) throw Error::system("drop capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw Error::system("set no_new_privs");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) throw Error::system("set not dumpable");
}

void allow(scmp_filter_ctx filter, int call) {
  const int failure = ::seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
  if (failure != 0) throw Error::system(-failure, "build the system call filter");
}

void filter_system_calls() {
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter(::seccomp_init(SCMP_ACT_ERRNO(EPERM)),
                                                                ::seccomp_release);
  if (!filter) throw Error("build the system call filter: out of memory");
  for (const int call : kSystemCalls) allow(filter.get(), call);
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    const int failure =
        ::seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (failure != 0) throw Error::system(-failure, "build the system call filter");
  }
  // Sharing of blocks between files.
  const int refused =
      ::seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, FICLONE));
  if (refused != 0) throw Error::system(-refused, "build the system call filter");
  const int failure = ::seccomp_load(filter.get());
  if (failure != 0) throw Error::system(-failure, "load the system call filter");
}

}  // namespace

void confine(int target, uint64_t max_bytes, bool with_trusted) {
  step("close other descriptors", [] { sys::close_range(4); });
  step("change root", [&] { change_root(target); });
  step("set limits", [&] { set_limits(max_bytes); });
  step("drop capabilities", [&] { drop_capabilities(with_trusted); });
  if (!kSanitized) step("filter system calls", [] { filter_system_calls(); });
}

}  // namespace holm::unpack
