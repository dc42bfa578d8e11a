#include "isolation/seccomp_policy.h"

#include <asm/ioctls.h>
#include <linux/net.h>
#include <linux/personality.h>
#include <sys/socket.h>

#include <cerrno>

namespace holm::isolation {
namespace {

// What programs in a container need: the set that podman allows, plus what an init system needs. Where the
// kernel itself asks for a capability over the user namespace that owns the object (mounts, namespaces,
// tracing), nothing is added here.
constexpr AllowedCalls kAllowed[] = {
    {"processes: start, end, wait. clone3 hides its flags from a filter; that is no loss, because new "
     "namespaces are allowed anyway (systemd makes them for its services)",
     "clone clone3 execve execveat exit exit_group fork vfork wait4 waitid waitpid set_tid_address "
     "restart_syscall"},
    {"processes: identity",
     "getpid getppid gettid getpgid getpgrp getsid setpgid setsid getuid getuid32 geteuid geteuid32 getgid "
     "getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32 getgroups getgroups32 setuid "
     "setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid setresuid32 setresgid "
     "setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset"},
    {"processes: confine oneself. systemd puts filters and landlock rules of its own on services",
     "prctl arch_prctl seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self"},
    {"processes: look into others. ptrace cannot lead past a filter since Linux 4.8; all of them stay "
     "inside the pid and user namespace",
     "ptrace kcmp process_vm_readv process_vm_writev process_madvise process_mrelease pidfd_open "
     "pidfd_send_signal pidfd_getfd"},
    {"processes: limits, accounting, scheduling. cgroups bound what a process can take for itself",
     "getrlimit ugetrlimit setrlimit prlimit64 getrusage times getpriority setpriority nice ioprio_get "
     "ioprio_set sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr "
     "sched_getparam sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max "
     "sched_get_priority_min sched_rr_get_interval sched_rr_get_interval_time64 getcpu membarrier rseq"},
    {"signals; the short names are those of 32-bit programs",
     "kill tkill tgkill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn "
     "rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack signalfd "
     "signalfd4 signal sigaction sigpending sigprocmask sigreturn sigsuspend"},
    {"threads",
     "futex futex_time64 futex_waitv get_robust_list set_robust_list get_thread_area set_thread_area"},
    {"time: read and wait. adjtimex and clock_adjtime also set the clock, behind a pointer that a filter "
     "cannot follow: the kernel asks for CAP_SYS_TIME over the host, which the profile withholds; NTP "
     "clients read with them",
     "time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep "
     "clock_nanosleep_time64 nanosleep adjtimex clock_adjtime clock_adjtime64 alarm getitimer setitimer "
     "timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime "
     "timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64"},
    {"memory",
     "brk mmap mmap2 munmap mremap mprotect pkey_alloc pkey_free pkey_mprotect madvise mincore msync mlock "
     "mlock2 mlockall munlock munlockall remap_file_pages memfd_create mbind get_mempolicy set_mempolicy "
     "set_mempolicy_home_node migrate_pages move_pages"},
    {"files: open and close",
     "open openat openat2 creat close close_range dup dup2 dup3 fcntl fcntl64 flock pipe pipe2"},
    {"files: read and write",
     "read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek _llseek sendfile "
     "sendfile64 splice tee copy_file_range readahead fadvise64 fadvise64_64 arm_fadvise64_64 fallocate "
     "truncate truncate64 ftruncate ftruncate64 fsync fdatasync sync syncfs sync_file_range "
     "arm_sync_file_range io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents "
     "io_pgetevents_time64"},
    {"files: what they are",
     "stat stat64 lstat lstat64 fstat fstat64 newfstatat fstatat64 statx statfs statfs64 fstatfs fstatfs64 "
     "access faccessat faccessat2 readlink readlinkat getdents getdents64 readdir name_to_handle_at "
     "getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr"},
    {"files: change names, owners, modes, times",
     "link linkat symlink symlinkat unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir mknod "
     "mknodat chmod fchmod fchmodat chown chown32 lchown lchown32 fchown fchown32 fchownat umask utime "
     "utimes futimesat utimensat utimensat_time64 setxattr lsetxattr fsetxattr removexattr lremovexattr "
     "fremovexattr"},
    {"files: where one is, and what happens to them. fanotify without CAP_SYS_ADMIN over the host only "
     "watches what the caller may read",
     "chdir fchdir getcwd chroot inotify_init inotify_init1 inotify_add_watch inotify_rm_watch "
     "fanotify_init fanotify_mark"},
    {"waiting for many",
     "poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 "
     "epoll_ctl epoll_wait epoll_pwait epoll_pwait2 epoll_ctl_old epoll_wait_old eventfd eventfd2"},
    {"sockets, apart from making one (see the rules on arguments)",
     "accept accept4 bind connect getpeername getsockname getsockopt setsockopt listen recv recvfrom "
     "recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto shutdown"},
    {"System V and POSIX IPC, all of the container's own ipc namespace; ipc is how 32-bit programs call "
     "the former",
     "ipc semget semop semctl semtimedop semtimedop_time64 shmget shmat shmctl shmdt msgget msgsnd msgrcv "
     "msgctl mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64 mq_timedreceive "
     "mq_timedreceive_time64"},
    {"an init system: mounts, in mount namespaces that the container owns",
     "mount umount umount2 pivot_root fsopen fsconfig fsmount fspick open_tree move_mount mount_setattr"},
    {"an init system: namespaces, host name, terminals. reboot only ends the pid namespace that calls it",
     "unshare setns sethostname setdomainname vhangup reboot"},
    {"the system as such", "uname sysinfo getrandom"},
    {"one machine's own: segments for 32-bit programs on x86 (wine), caches and thread pointers on 32-bit "
     "ARM",
     "modify_ldt breakpoint cacheflush set_tls get_tls"},
};

constexpr RefusedCalls kRefused[] = {
    {"would replace the kernel of all", "kexec_load kexec_file_load"},
    {"would load code into the kernel of all", "init_module finit_module delete_module"},
    {"BPF programs: a large part of the kernel's past holes, and CRIU cannot dump them. systemd does without",
     "bpf"},
    {"counts and samples the host; has been a way to root", "perf_event_open"},
    {"a second way to make system calls, past this filter; CRIU cannot dump it. Programs fall back to epoll",
     "io_uring_setup io_uring_enter io_uring_register", RefusedUnless::io_uring},
    {"opens files of a mounted file system by number, past the container's root (the \"shocker\" escape)",
     "open_by_handle_at"},
    {"stops the kernel at a page fault of the caller's choice, which makes races in it easy to win",
     "userfaultfd"},
    {"maps its own pages into pipes; many copy-on-write holes went through it. Programs fall back to writev",
     "vmsplice"},
    {"keys are found by number across containers, and CRIU cannot dump them. systemd and PAM do without",
     "keyctl add_key request_key"},
    {"the host has one clock. The time namespace shifts it at start, never later",
     "settimeofday stime clock_settime clock_settime64"},
    {"reads, and clears, the host's kernel log; where the host lets every user read it, no capability is "
     "asked for",
     "syslog"},
    {"the host's swap, process accounting and disk quotas", "swapon swapoff acct quotactl quotactl_fd"},
    {"hardware of the host", "iopl ioperm pciconfig_iobase pciconfig_read pciconfig_write"},
    {"16-bit mode: unused, and a risk to the kernel's memory layout", "vm86 vm86old"},
    {"old calls that show or reach things of the host: shared libraries by name, file systems by number, "
     "dentry cookies",
     "uselib ustat sysfs lookup_dcookie"},
};
// In neither table, so ENOSYS, on purpose: memfd_secret (CRIU cannot dump it), cachestat (tells what others
// have read), the oldest forms of stat, uname and the signal mask (no C library of this century calls them),
// and calls that kernels of today no longer have: _sysctl, nfsservctl, create_module, get_kernel_syms,
// query_module, bdflush, afs_syscall and the like.

constexpr NumberedCall kNumbered[] = {
    // The kernel puts these two into a program itself when the host traces its functions; refused, the
    // program dies.
    {"uretprobe", 335, OnMachines::x86_64},
    {"uprobe", 336, OnMachines::x86_64},
    {"fchmodat2", 452},
    {"map_shadow_stack", 453},
    {"futex_wake", 454},
    {"futex_wait", 455},
    {"futex_requeue", 456},
    {"statmount", 457},
    {"listmount", 458},
    {"lsm_get_self_attr", 459},
    {"lsm_set_self_attr", 460},
    {"lsm_list_modules", 461},
    {"mseal", 462},
    {"setxattrat", 463},
    {"getxattrat", 464},
    {"listxattrat", 465},
    {"removexattrat", 466},
    {"open_tree_attr", 467},
    {"file_getattr", 468},
    {"file_setattr", 469},
};

// Typing into a terminal that one does not own (TIOCSTI, CVE-2017-5226), and pasting on a console
// (TIOCLINUX).
constexpr uint32_t kRefusedIoctls[] = {TIOCSTI, TIOCLINUX};

// Each address family is code that a socket call loads and reaches. AF_ALG gave root on every host
// (CVE-2026-31431), AF_VSOCK talks to the hypervisor past the network namespace. The answer is that of a
// kernel without the family.
constexpr uint32_t kFamilies[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET};

// The one call behind which 32-bit x86 programs have all of socket(2). Its arguments stand in memory, so the
// family cannot be seen: making sockets that way is refused, or the line above would protect nothing (any
// program can make 32-bit calls). 32-bit programs of a glibc for kernels before 4.3 (Debian's is one) get no
// sockets; those of musl call socket itself.
constexpr uint32_t kSocketcallsThatMake[] = {SYS_SOCKET, SYS_SOCKETPAIR};

// The rest of these bits switch protections off, for ancient programs. 0xffffffff only asks.
constexpr uint32_t kUname26 = UNAME26;
constexpr uint32_t kPersonalities[] = {PER_LINUX, PER_LINUX32, kUname26, kUname26 | PER_LINUX32, 0xffffffff};

constexpr ArgumentRule kArgumentRules[] = {
    {"ioctl", 1, Listed::refused, kRefusedIoctls, EPERM},
    {"socket", 0, Listed::allowed, kFamilies, EAFNOSUPPORT},
    {"socketpair", 0, Listed::allowed, kFamilies, EAFNOSUPPORT},
    {"socketcall", 0, Listed::refused, kSocketcallsThatMake, EPERM},
    {"personality", 0, Listed::allowed, kPersonalities, EPERM},
};

}  // namespace

std::span<const AllowedCalls> allowed_calls() { return kAllowed; }
std::span<const RefusedCalls> refused_calls() { return kRefused; }
std::span<const NumberedCall> numbered_calls() { return kNumbered; }
std::span<const ArgumentRule> argument_rules() { return kArgumentRules; }

}  // namespace holm::isolation
