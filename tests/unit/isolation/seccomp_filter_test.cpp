#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <functional>

#include "isolation/seccomp_filter.h"
#include "isolation/seccomp_policy.h"
#include "tests/unit/isolation/child.h"

using namespace holm;
using namespace holm::isolation;

namespace {

// "EPERM", "ENOSYS", ... or "done": what a system call comes to behind the filter.
std::string behind_filter(const std::function<long()>& call,
                          SeccompVariant variant = SeccompVariant::standard) {
  return test::in_child([&]() -> std::string {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    install_seccomp_filter(variant);
    errno = 0;
    return call() < 0 ? strerrorname_np(errno) : "done";
  });
}

std::string answer_to(long number, long first = 0, long second = 0, long third = 0) {
  return behind_filter([=] { return ::syscall(number, first, second, third, 0L, 0L, 0L); });
}

constexpr long kHighBit = 1L << 32;

}  // namespace

TEST_CASE("calls that reach the host's kernel or others' keys are refused with EPERM") {
  CHECK(answer_to(SYS_bpf) == "EPERM");
  CHECK(answer_to(SYS_keyctl) == "EPERM");
  CHECK(answer_to(SYS_add_key) == "EPERM");
  CHECK(answer_to(SYS_request_key) == "EPERM");
  CHECK(answer_to(SYS_kexec_load) == "EPERM");
  CHECK(answer_to(SYS_init_module) == "EPERM");
  CHECK(answer_to(SYS_finit_module, -1) == "EPERM");
  CHECK(answer_to(SYS_delete_module) == "EPERM");
  CHECK(answer_to(SYS_perf_event_open) == "EPERM");
  CHECK(answer_to(SYS_userfaultfd, 1) == "EPERM");
  CHECK(answer_to(SYS_open_by_handle_at, -1) == "EPERM");
  CHECK(answer_to(SYS_settimeofday) == "EPERM");
  CHECK(answer_to(SYS_clock_settime, -1) == "EPERM");
  CHECK(answer_to(SYS_swapoff) == "EPERM");
  CHECK(answer_to(SYS_acct, 1) == "EPERM");
  CHECK(answer_to(SYS_quotactl, -1) == "EPERM");
  CHECK(answer_to(SYS_syslog, 10) == "EPERM");
  CHECK(answer_to(SYS_vmsplice, -1) == "EPERM");
}

TEST_CASE("io_uring is refused unless the spec allows it") {
  CHECK(answer_to(SYS_io_uring_setup) == "EPERM");
  const auto setup = [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); };
  const std::string allowed = behind_filter(setup, SeccompVariant::with_io_uring);
  CHECK((allowed == "EFAULT" || allowed == "ENOSYS"));  // the kernel's own answer
  CHECK(behind_filter([] { return ::syscall(SYS_bpf, 0, nullptr, 0); }, SeccompVariant::with_io_uring) ==
        "EPERM");
}

TEST_CASE("calls that the table does not know do not exist, so that programs fall back") {
  CHECK(answer_to(9999) == "ENOSYS");
  CHECK(answer_to(1023) == "ENOSYS");
  CHECK(answer_to(-1) == "ENOSYS");
  CHECK(answer_to(SYS_memfd_secret) == "ENOSYS");
  CHECK(answer_to(451) == "ENOSYS");  // cachestat
}

TEST_CASE("typing into a terminal is refused, also with high bits set in the request") {
  for (const long request :
       {long{TIOCSTI}, long{TIOCLINUX}, kHighBit | TIOCSTI, kHighBit << 7 | TIOCLINUX, ~0L << 32 | TIOCSTI})
    CHECK(answer_to(SYS_ioctl, 0, request) == "EPERM");
  CHECK(answer_to(SYS_ioctl, -1, TCGETS) == "EBADF");
  CHECK(answer_to(SYS_ioctl, -1, TIOCSTI + 1) == "EBADF");
  CHECK(answer_to(SYS_ioctl, -1, kHighBit | TIOCSCTTY) == "EBADF");
}

TEST_CASE("only address families that a container owns can be made into sockets") {
  for (const int family : {AF_UNIX, AF_INET, AF_NETLINK})
    CHECK(behind_filter([=] { return ::socket(family, SOCK_DGRAM, 0); }) == "done");
  for (const long family :
       {long{AF_ALG}, long{AF_VSOCK}, long{AF_TIPC}, long{AF_BLUETOOTH}, kHighBit | AF_VSOCK})
    CHECK(answer_to(SYS_socket, family, SOCK_STREAM) == "EAFNOSUPPORT");
  CHECK(answer_to(SYS_socketpair, AF_TIPC, SOCK_STREAM) == "EAFNOSUPPORT");
  CHECK(behind_filter([] {
          int ends[2];
          return ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
        }) == "done");
}

TEST_CASE("a program may ask for its personality and for 32 bits, not for weaker memory protection") {
  CHECK(answer_to(SYS_personality, 0xffffffff) == "done");
  CHECK(answer_to(SYS_personality, PER_LINUX32) == "done");
  CHECK(answer_to(SYS_personality, READ_IMPLIES_EXEC) == "EPERM");
  CHECK(answer_to(SYS_personality, kHighBit | ADDR_NO_RANDOMIZE) == "EPERM");
}

TEST_CASE("what an init system needs is left to the kernel's own checks") {
  // Arguments that the kernel refuses with something else than EPERM and ENOSYS, or does.
  CHECK(behind_filter([] { return ::unshare(0); }) == "done");
  CHECK(answer_to(SYS_setns, -1) == "EBADF");
  CHECK(answer_to(SYS_clone3) == "EINVAL");
  CHECK(answer_to(SYS_name_to_handle_at, -1, reinterpret_cast<long>("x")) != "ENOSYS");
  CHECK(answer_to(SYS_ptrace, PTRACE_CONT, -1) == "ESRCH");
  CHECK(answer_to(SYS_prctl, PR_GET_DUMPABLE) == "done");
  CHECK(answer_to(SYS_seccomp, 9) == "EINVAL");
  CHECK(answer_to(SYS_memfd_create, reinterpret_cast<long>("test")) == "done");
  CHECK(answer_to(SYS_fanotify_mark, -1) != "ENOSYS");
  CHECK(answer_to(SYS_pidfd_open, ::getpid()) == "done");
  CHECK(answer_to(SYS_mq_unlink, reinterpret_cast<long>("none-of-this-name")) == "ENOENT");
}

TEST_CASE("calls that are newer than libseccomp's tables are allowed by number") {
  const auto without_filter = [](long number) {
    return test::in_child([=]() -> std::string {
      return ::syscall(number, -1L, 0L, 0L, 0L, 0L, 0L) < 0 ? strerrorname_np(errno) : "done";
    });
  };
  for (const NumberedCall& call : numbered_calls()) {
    if (call.machines != OnMachines::all) continue;
    CAPTURE(call.name);
    CHECK(answer_to(call.number, -1) == without_filter(call.number));
  }
}

TEST_CASE("a whole program runs behind the filter") {
  const std::string status = test::in_child([]() -> std::string {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    install_seccomp_filter(SeccompVariant::standard);
    if (::fork() == 0) {
      ::execl("/bin/sh", "sh", "-c", "echo a | cat >/dev/null && test -d / && exit 7", nullptr);
      ::_exit(1);
    }
    int code = 0;
    ::wait(&code);
    return std::to_string(WEXITSTATUS(code));
  });
  CHECK(status == "7");
}

TEST_CASE("a filter without no_new_privs and without rights is refused, and the message says what it needs") {
  const std::string text = test::in_child([]() -> std::string {
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return "cannot give up root";
    install_seccomp_filter(SeccompVariant::standard);
    return "installed";
  });
  CHECK(text.starts_with(
      "error: install the system call filter: Permission denied (EACCES)\n  hint: it needs CAP_SYS_ADMIN"));
}

TEST_CASE("the filters are small enough to load in no time") {
  CHECK(seccomp_filter_size(SeccompVariant::standard) > 100);
  CHECK(seccomp_filter_size(SeccompVariant::standard) < 1000);
  CHECK(seccomp_filter_size(SeccompVariant::with_io_uring) < 1000);
}

#ifdef __x86_64__
namespace {

// A call of 32-bit x86, as any 64-bit program can make it.
long call_32bit(long number, long first = 0, long second = 0) {
  long result = 0;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(number), "b"(first), "c"(second), "d"(0L), "S"(0L), "D"(0L)
                   : "memory", "r8", "r9", "r10", "r11");
  if (result >= 0) return result;
  errno = static_cast<int>(-result);
  return -1;
}

std::string answer_to_32bit(long number, long first = 0, long second = 0) {
  return behind_filter([=] { return call_32bit(number, first, second); });
}

bool has_32bit_calls() {
  return test::in_child([]() -> std::string { return call_32bit(20) == ::getpid() ? "yes" : "no"; }) == "yes";
}

constexpr long kSocketcall32 = 102, kBpf32 = 357, kKeyctl32 = 288, kSocket32 = 359, kIoctl32 = 54,
               kGetpid32 = 20, kStime32 = 25, kVm86 = 166, kSemget32 = 393, kOpenByHandleAt32 = 342;

}  // namespace

TEST_CASE("32-bit calls are covered by the same table") {
  if (!has_32bit_calls()) {
    MESSAGE("skipped: needs a kernel with 32-bit system calls");
    return;
  }
  CHECK(answer_to_32bit(kGetpid32) == "done");
  CHECK(answer_to_32bit(kBpf32) == "EPERM");
  CHECK(answer_to_32bit(kKeyctl32) == "EPERM");
  CHECK(answer_to_32bit(kStime32) == "EPERM");
  CHECK(answer_to_32bit(kVm86) == "EPERM");
  CHECK(answer_to_32bit(kOpenByHandleAt32, -1) == "EPERM");
  CHECK(answer_to_32bit(kIoctl32, -1, TIOCSTI) == "EPERM");
  CHECK(answer_to_32bit(kIoctl32, -1, TCGETS) == "EBADF");
  CHECK(answer_to_32bit(kSemget32, -1) != "ENOSYS");
  CHECK(answer_to_32bit(1000) == "ENOSYS");
}

TEST_CASE("the 32-bit socketcall is no way around the address families") {
  if (!has_32bit_calls()) {
    MESSAGE("skipped: needs a kernel with 32-bit system calls");
    return;
  }
  CHECK(answer_to_32bit(kSocketcall32, 1) == "EPERM");   // socket
  CHECK(answer_to_32bit(kSocketcall32, 8) == "EPERM");   // socketpair
  CHECK(answer_to_32bit(kSocketcall32, 3) == "EFAULT");  // connect, with arguments at address 0
  CHECK(answer_to_32bit(kSocket32, AF_VSOCK, SOCK_STREAM) == "EAFNOSUPPORT");
  CHECK(answer_to_32bit(kSocket32, AF_UNIX, SOCK_STREAM) == "done");
}

TEST_CASE("x32 calls do not exist") {
  constexpr long kX32 = 0x40000000;
  CHECK(answer_to(kX32 | SYS_getpid) == "ENOSYS");
  CHECK(answer_to(kX32 | SYS_bpf) == "ENOSYS");
  CHECK(answer_to(kX32 | 534) == "ENOSYS");  // preadv
}
#endif
