// A static program that system tests put into a container: it tries what a shell cannot, as the adversary
// inside would.
#include <dirent.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <initializer_list>

namespace {

void tell(const char* name, long result) {
  std::printf("%s=%s\n", name, result >= 0 ? "done" : strerrorname_np(errno));
}

void tell_path(const char* name, const char* path, long result) {
  std::printf("%s %s=%s\n", name, path, result >= 0 ? "done" : strerrorname_np(errno));
}

// --- calls: each with arguments that would do something if it were let through

#if defined(__x86_64__)
// The same kernel entered as a 32-bit program enters it: its numbers are others, its filter must not be.
long call_as_32_bit(int number) {
  const pid_t child = ::fork();
  if (child == 0) {
    long result = number;
    __asm__ volatile("int $0x80"
                     : "+a"(result)
                     : "b"(0), "c"(0), "d"(0)
                     : "memory", "r8", "r9", "r10", "r11");
    ::_exit(result < 0 ? static_cast<int>(-result) : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  errno = WIFEXITED(status) ? WEXITSTATUS(status) : ENOSYS;  // a kernel without 32-bit programs
  return errno == 0 ? 0 : -1;
}
#endif

void try_calls() {
  long none[32] = {};
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  timeval day = {now.tv_sec, 0};
  timex change = {};
  change.modes = ADJ_TICK;
  change.tick = 10000;
  char letter = 'x';
  tell("bpf", ::syscall(SYS_bpf, 0, none, sizeof none));
  tell("kexec_load", ::syscall(SYS_kexec_load, 0, 0, nullptr, 0));
  tell("init_module", ::syscall(SYS_init_module, none, sizeof none, ""));
  tell("finit_module", ::syscall(SYS_finit_module, 0, "", 0));
  tell("delete_module", ::syscall(SYS_delete_module, "no-such-module", 0));
  tell("perf_event_open", ::syscall(SYS_perf_event_open, none, 0, -1, -1, 0));
  tell("io_uring_setup", ::syscall(SYS_io_uring_setup, 4, none));
  tell("open_by_handle_at", ::syscall(SYS_open_by_handle_at, AT_FDCWD, none, O_RDONLY));
  tell("userfaultfd", ::syscall(SYS_userfaultfd, 0));
  tell("vmsplice", ::syscall(SYS_vmsplice, 1, none, 0, 0));
  tell("keyctl", ::syscall(SYS_keyctl, 0, -3, 0));
  tell("add_key", ::syscall(SYS_add_key, "user", "holm", "x", 1, -3));
  tell("request_key", ::syscall(SYS_request_key, "user", "holm", nullptr, -3));
  tell("settimeofday", ::syscall(SYS_settimeofday, &day, nullptr));
  tell("clock_settime", ::syscall(SYS_clock_settime, CLOCK_REALTIME, &now));
  tell("adjtimex", ::adjtimex(&change));
  tell("syslog", ::syscall(SYS_syslog, 3, none, sizeof none));
  tell("swapon", ::syscall(SYS_swapon, "/no-such-file", 0));
  tell("acct", ::syscall(SYS_acct, nullptr));
  tell("quotactl", ::syscall(SYS_quotactl, 0, nullptr, 0, nullptr));
  tell("ioctl TIOCSTI", ::ioctl(0, TIOCSTI, &letter));
  tell("ioctl TIOCLINUX", ::ioctl(0, TIOCLINUX, &letter));
  tell("personality", ::personality(ADDR_NO_RANDOMIZE));
  tell("socket AF_ALG", ::socket(AF_ALG, SOCK_SEQPACKET, 0));
  tell("socket AF_VSOCK", ::socket(AF_VSOCK, SOCK_STREAM, 0));
  tell("socket AF_KEY", ::socket(AF_KEY, SOCK_RAW, 2));
  tell("memfd_secret", ::syscall(447, 0));
  tell("a call of the future", ::syscall(1000, 0));
#if defined(__x86_64__)
  tell("iopl", ::syscall(SYS_iopl, 3));
  tell("ioperm", ::syscall(SYS_ioperm, 0x80, 1, 1));
  tell("keyctl of 32-bit programs", call_as_32_bit(288));
  tell("bpf of 32-bit programs", call_as_32_bit(357));
  tell("keyctl of x32 programs", ::syscall(0x40000000 | SYS_keyctl, 0, -3, 0));
#endif
  tell("mknod of a disk", ::mknod("/tmp/disk", S_IFBLK | 0600, makedev(8, 0)));
  tell("mknod of memory", ::mknod("/tmp/memory", S_IFCHR | 0600, makedev(1, 1)));
  tell("setns to init's own", ::setns(::open("/proc/1/ns/user", O_RDONLY), 0));
}

// --- rewrite: the program behind a magic link, in each way there is to change a file

int rewrite(const char* path) {
  const int fd = ::open(path, O_WRONLY);
  tell_path("open for writing", path, fd);
  if (fd >= 0) tell_path("write", path, ::write(fd, "#!/bin/sh\n", 10));
  tell_path("open and empty", path, ::open(path, O_WRONLY | O_TRUNC));
  tell_path("truncate", path, ::truncate(path, 0));
  tell_path("change mode", path, ::chmod(path, 0777));
  tell_path("change owner", path, ::chown(path, 1, 1));
  tell_path("link", path, ::linkat(AT_FDCWD, path, AT_FDCWD, "/tmp/holm", AT_SYMLINK_FOLLOW));
  const timespec times[2] = {};
  tell_path("set times", path, ::utimensat(AT_FDCWD, path, times, 0));
  return 0;
}

// --- watch: everything that can be learnt of a process while it joins

bool begins_with(const char* text, const char* start) {
  return std::strncmp(text, start, std::strlen(start)) == 0;
}

struct Link {
  char text[4096];
  bool is_there;
};

Link read_link(int process, const char* name) {
  Link link = {};
  const ssize_t size = ::readlinkat(process, name, link.text, sizeof link.text - 1);
  link.is_there = size >= 0;
  return link;
}

void leak(int pid, const char* what, const char* detail) {
  std::printf("LEAK process %d: %s %s\n", pid, what, detail);
}

// Sockets are no leak: open(2) refuses them behind /proc/PID/fd (ENXIO), and pidfd_getfd(2) waits for the end
// of execve, which closes the one that Holm still has there. 6.1 lets readlink(2) see it for a moment.
void look_at_descriptors(int pid, int process) {
  const int fd = ::openat(process, "fd", O_RDONLY | O_DIRECTORY);
  if (fd < 0) return;
  DIR* stream = ::fdopendir(fd);
  if (!stream) {  // the process has ended
    ::close(fd);
    return;
  }
  while (const dirent* entry = ::readdir(stream)) {
    if (std::atoi(entry->d_name) < 3) continue;
    const Link link = read_link(::dirfd(stream), entry->d_name);
    if (link.is_there && !begins_with(link.text, "socket:")) leak(pid, "descriptor", link.text);
  }
  ::closedir(stream);
}

void look_at_environment(int pid, int process) {
  const int fd = ::openat(process, "environ", O_RDONLY);
  if (fd < 0) return;
  char text[16384] = {};
  const ssize_t size = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  if (size > 0 && ::memmem(text, static_cast<size_t>(size), "HOLM_", 5))
    leak(pid, "environment", "of the host");
}

// True where the process could be traced, which it may be once it is the payload. A tracer that waits for the
// end of execve(2) is let in just before the stop that tells of it; nothing of the old program is left then.
bool trace(int pid, int process, const char* payload) {
  if (::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) != 0) return false;
  ::ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr);
  int status = 0;
  if (::waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
    const Link link = read_link(process, "exe");
    if (!link.is_there || std::strcmp(link.text, payload) != 0) leak(pid, "traced as", link.text);
    ::ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
  }
  return true;
}

int watch(int seconds, const char* payload) {
  const time_t end = std::time(nullptr) + seconds;
  int last = 0, seen = 0, traced = 0;
  while (std::time(nullptr) < end) {
    DIR* proc = ::opendir("/proc");
    while (const dirent* entry = ::readdir(proc)) {
      const int pid = std::atoi(entry->d_name);
      if (pid <= 1 || pid == ::getpid()) continue;
      const int process = ::openat(::dirfd(proc), entry->d_name, O_PATH | O_DIRECTORY);
      if (process < 0) continue;
      if (pid > last) {
        last = pid;
        ++seen;
      }
      look_at_descriptors(pid, process);
      look_at_environment(pid, process);
      if (const Link link = read_link(process, "exe"); link.is_there && std::strcmp(link.text, payload) != 0)
        leak(pid, "program", link.text);
      for (const char* name : {"cwd", "root"})
        if (const Link link = read_link(process, name); link.is_there && !begins_with(link.text, "/"))
          leak(pid, name, link.text);
      traced += trace(pid, process, payload) ? 1 : 0;
      ::close(process);
    }
    ::closedir(proc);
  }
  std::printf("saw %d processes, traced some %s\n", seen, traced > 0 ? "later" : "never");
  return 0;
}

// --- hold: "files=3 tcp=2 ..." of each kind so many, until it is killed; then /tmp/held is there

void must(long result, const char* what) {
  if (result >= 0) return;
  tell(what, result);
  std::exit(1);
}

int open_lock_file(const char* name) {
  const int fd = ::open(name, O_RDWR | O_CREAT, 0600);
  must(fd, name);
  return fd;
}

struct flock first_byte() {
  struct flock range = {};
  range.l_type = F_WRLCK;
  range.l_len = 1;
  return range;
}

void take_posix_lock() {
  static int file = open_lock_file("/tmp/posix");
  static off_t next = 0;
  struct flock range = first_byte();
  range.l_start = next++ * 2;  // side by side they would become one
  must(::fcntl(file, F_SETLK, &range), "posix lock");
}

void take_ofd_lock() {
  struct flock range = first_byte();
  must(::fcntl(open_lock_file("/tmp/ofd"), F_OFD_SETLK, &range), "lock of an open file");
}

// The process that took it ends at once.
void take_orphaned_flock() {
  const int file = open_lock_file("/tmp/flock");
  const pid_t taker = ::fork();
  if (taker == 0) ::_exit(::flock(file, LOCK_EX | LOCK_NB));
  int status = 0;
  ::waitpid(taker, &status, 0);
  if (status != 0) must(-1, "flock");
}

// Two descriptors and three sockets, as nobody accepts; the data waits in the third.
void connect_without_accept() {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0), client = ::socket(AF_INET, SOCK_STREAM, 0);
  must(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), "bind");
  must(::listen(listener, 1), "listen");
  must(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), "own address");
  must(::connect(client, reinterpret_cast<sockaddr*>(&address), size), "connect");
  char data[10000] = {};
  must(::send(client, data, sizeof data, 0), "send");
}

// One socket, with a datagram that nobody reads.
void send_to_itself() {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
  must(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), "bind");
  must(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), "own address");
  char data[1000] = {};
  must(::sendto(fd, data, sizeof data, 0, reinterpret_cast<sockaddr*>(&address), size), "send a datagram");
}

void make_terminal() {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  must(master, "terminal");
}

void queue_signal() {
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGRTMIN);
  ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
  must(::sigqueue(::getpid(), SIGRTMIN, {}), "queue a signal");
}

void make_process(int own_files) {
  const pid_t child = ::fork();
  must(child, "process");
  if (child != 0) return;
  while (own_files-- > 0) must(::eventfd(0, 0), "event");
  for (;;) ::pause();
}

struct Holding {
  const char* name;
  void (*take)();
};
constexpr Holding kHoldings[] = {
    {"files", [] { must(::open("/dev/null", O_RDWR), "file"); }},
    {"copies", [] { must(::dup(0), "copy"); }},
    {"events", [] { must(::eventfd(0, 0), "event"); }},
    {"tcp", [] { must(::socket(AF_INET, SOCK_STREAM, 0), "tcp"); }},
    {"udp", [] { must(::socket(AF_INET, SOCK_DGRAM, 0), "udp"); }},
    {"local", [] { must(::socket(AF_UNIX, SOCK_STREAM, 0), "local"); }},
    {"netlink", [] { must(::socket(AF_NETLINK, SOCK_RAW, 0), "netlink"); }},
    {"pending", connect_without_accept},
    {"datagrams", send_to_itself},
    {"posix", take_posix_lock},
    {"ofd", take_ofd_lock},
    {"flock", take_orphaned_flock},
    {"terminals", make_terminal},
    {"signals", queue_signal},
    {"processes", [] { make_process(0); }},  // with what the words before made
    {"crowd", [] { make_process(100); }},    // and with a hundred files of its own
};

int hold(int count, char** words) {
  for (int i = 0; i < count; ++i) {
    for (const Holding& holding : kHoldings) {
      const size_t length = std::strlen(holding.name);
      if (std::strncmp(words[i], holding.name, length) != 0 || words[i][length] != '=') continue;
      for (int times = std::atoi(words[i] + length + 1); times > 0; --times) holding.take();
    }
  }
  ::close(::open("/tmp/held", O_WRONLY | O_CREAT, 0600));
  for (;;) ::pause();
}

// --- small things

// A chain of directories below the working directory; deeper than a path can name.
int make_deep(int depth) {
  constexpr const char* kName = "directory";
  for (int i = 0; i < depth; ++i) {
    if (::mkdir(kName, 0000) != 0 || ::chmod(kName, 0700) != 0 || ::chdir(kName) != 0) {
      tell("deep", -1);
      return 1;
    }
    const int file = ::open("f", O_WRONLY | O_CREAT, 0000);
    ::close(file);
  }
  return 0;
}

// Holds a lease on a file, so that whoever opens it must wait for us; we never answer.
int hold_lease(const char* path) {
  ::signal(SIGIO, SIG_IGN);
  const int fd = ::open(path, O_RDWR);
  tell("lease", ::fcntl(fd, F_SETLEASE, F_WRLCK));
  std::fflush(stdout);
  for (;;) ::pause();
}

// Sends itself a message that comes with its time, as journald gets them, and takes it at SIGUSR1.
int post_message() {
  int ends[2] = {};
  const int yes = 1;
  sigset_t wanted;
  ::sigemptyset(&wanted);
  ::sigaddset(&wanted, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &wanted, nullptr);
  if (::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) != 0 ||
      ::setsockopt(ends[1], SOL_SOCKET, SO_TIMESTAMP, &yes, sizeof yes) != 0 ||
      ::send(ends[0], "x", 1, 0) != 1)
    return 1;
  ::close(::open("/root/posted", O_WRONLY | O_CREAT, 0600));
  int signal = 0;
  ::sigwait(&wanted, &signal);
  char byte = 0;
  if (::recv(ends[1], &byte, 1, 0) != 1) return 1;
  for (;;) ::pause();
}

// Signals all other processes as fast as it can.
int signal_all(int signal, int seconds) {
  const time_t end = std::time(nullptr) + seconds;
  while (std::time(nullptr) < end) ::kill(-1, signal);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "";
  if (std::strcmp(what, "calls") == 0) try_calls();
  if (std::strcmp(what, "rewrite") == 0 && argc > 2) return rewrite(argv[2]);
  if (std::strcmp(what, "watch") == 0 && argc > 3) return watch(std::atoi(argv[2]), argv[3]);
  if (std::strcmp(what, "deep") == 0 && argc > 2) return make_deep(std::atoi(argv[2]));
  if (std::strcmp(what, "lease") == 0 && argc > 2) return hold_lease(argv[2]);
  if (std::strcmp(what, "post") == 0) return post_message();
  if (std::strcmp(what, "hold") == 0) return hold(argc - 2, argv + 2);
  if (std::strcmp(what, "signal-all") == 0 && argc > 3)
    return signal_all(std::atoi(argv[2]), std::atoi(argv[3]));
  return 0;
}
