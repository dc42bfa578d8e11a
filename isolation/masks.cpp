#include "isolation/masks.h"

namespace holm::isolation {
namespace {

constexpr const char* kMasked[] = {
    "/proc/acpi",            // the host's batteries, buttons, wake-up devices
    "/proc/asound",          // sound cards; has led to kernel crashes
    "/proc/kcore",           // the host's memory
    "/proc/keys",            // keys by number, also of others
    "/proc/key-users",       // who on the host holds how many
    "/proc/latency_stats",   // what the host's processes wait for
    "/proc/timer_list",      // kernel addresses, names of the host's processes
    "/proc/timer_stats",     // names of the host's processes
    "/proc/sched_debug",     // names of the host's processes
    "/proc/scsi",            // takes commands that remove disks
    "/proc/interrupts",      // keystroke timing of the host, and a channel between containers
    "/sys/firmware",         // ACPI tables, EFI variables
    "/sys/kernel/security",  // the host's access policies
    "/sys/kernel/debug",
    "/sys/kernel/tracing",
    "/sys/devices/virtual/powercap",  // power readings give away keys of neighbours (PLATYPUS, CVE-2020-8694)
};

constexpr const char* kReadOnly[] = {
    "/proc/bus",  // devices on PCI and USB
    "/proc/fs",   // settings of the host's file systems
    "/proc/irq",  // which CPU serves which interrupt
    "/proc/sys",  // the host's sysctls, core_pattern among them: a program that the kernel runs as the host's
                  // root
    "/proc/sysrq-trigger",  // reboots the host
    "/sys",
};

constexpr const char* kWritableSysctls[] = {
    // Network namespace.
    "/proc/sys/net",
    // UTS namespace.
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",
    // IPC namespace.
    "/proc/sys/kernel/msgmax",
    "/proc/sys/kernel/msgmnb",
    "/proc/sys/kernel/msgmni",
    "/proc/sys/kernel/sem",
    "/proc/sys/kernel/shmall",
    "/proc/sys/kernel/shmmax",
    "/proc/sys/kernel/shmmni",
    "/proc/sys/kernel/shm_rmid_forced",
    "/proc/sys/fs/mqueue",
    // User namespace: how many namespaces and watches it may have; its parents' bounds hold all the same.
    "/proc/sys/user",
};

}  // namespace

std::span<const char* const> masked_paths() { return kMasked; }
std::span<const char* const> read_only_paths() { return kReadOnly; }
std::span<const char* const> writable_sysctls() { return kWritableSysctls; }

}  // namespace holm::isolation
