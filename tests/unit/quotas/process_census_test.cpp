// What processes hold open: real ones, which this test makes.
#include "quotas/process_census.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <thread>

#include "base/sys.h"
#include "quotas/file_locks.h"
#include "quotas/pty_facts.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::quotas;
using namespace std::chrono_literals;
using holm::test::TemporaryDirectory;

namespace {

// A child that has done `work` and then sleeps until the end of the scope. It holds no descriptor but those
// that `work` leaves open.
class Child {
 public:
  explicit Child(const std::function<void()>& work) {
    auto ready = sys::pipe();
    pid_ = ::fork();
    if (pid_ == 0) {
      const int telling = ::fcntl(ready.write_end.get(), F_DUPFD, 900);
      for (int fd = 0; fd < 900; ++fd) ::close(fd);
      work();
      if (::write(telling, "x", 1) != 1) ::_exit(1);
      ::close(telling);
      for (;;) ::pause();
    }
    ready.write_end.reset();
    char letter = 0;
    REQUIRE(::read(ready.read_end.get(), &letter, 1) == 1);
    // The end of file comes when the child has closed its end.
    CHECK(::read(ready.read_end.get(), &letter, 1) == 0);
  }
  ~Child() {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

ProcessCensus census_of(const std::vector<pid_t>& processes) { return take_census(processes, 60s); }

void repeat(int times, const std::function<int()>& open) {
  for (int i = 0; i < times; ++i)
    if (open() < 0) ::_exit(1);
}

bool can_compare() {
  const Child child([] {
    repeat(1, [] { return ::open("/dev/null", O_RDWR); });
    repeat(1, [] { return ::dup(0); });
  });
  return census_of({child.pid()}).files == 1;
}

}  // namespace

TEST_CASE("open files are counted, of whatever kind, and duplicates only once") {
  if (!can_compare()) {
    MESSAGE("skipped: needs kcmp(2)");
    return;
  }
  const Child child([] {
    repeat(3, [] { return ::open("/dev/null", O_RDWR); });
    repeat(5, [] { return ::eventfd(0, 0); });
    repeat(2, [] { return ::epoll_create1(0); });
    int ends[2];
    repeat(1, [&] { return ::pipe(ends); });
    repeat(1, [] { return ::open("/", O_RDONLY); });
    repeat(7, [] { return ::dup(0); });
  });
  const ProcessCensus census = census_of({child.pid()});
  CHECK(census.files == 3 + 5 + 2 + 2 + 1);
  CHECK(census.named_files.size() == 4);
  CHECK(census.processes == std::unordered_set<pid_t>{child.pid()});
  CHECK(census.is_complete);
}

TEST_CASE("sockets are told apart by their protocol, whether bound or not") {
  const Child child([] {
    repeat(4, [] { return ::socket(AF_INET, SOCK_STREAM, 0); });
    repeat(2, [] { return ::socket(AF_INET6, SOCK_STREAM, 0); });
    repeat(3, [] { return ::socket(AF_INET, SOCK_DGRAM, 0); });
    repeat(1, [] { return ::socket(AF_UNIX, SOCK_STREAM, 0); });
    repeat(1, [] { return ::socket(AF_UNIX, SOCK_DGRAM, 0); });
    repeat(1, [] { return ::socket(AF_NETLINK, SOCK_RAW, 0); });
    repeat(5, [] { return ::dup(0); });
  });
  const ProcessCensus census = census_of({child.pid()});
  CHECK(census.tcp_sockets.size() == 6);
  CHECK(census.other_sockets.size() == 6);
  CHECK(census.files == 12);
}

TEST_CASE("what a process inherits is the same file, what it opens itself is not") {
  if (!can_compare()) return;
  int ends[2];
  pid_t second = 0;
  REQUIRE(::pipe(ends) == 0);
  const int telling = ::fcntl(ends[1], F_DUPFD, 901);
  const Child first([&] {
    repeat(4, [] { return ::eventfd(0, 0); });
    const pid_t made = ::fork();
    if (made == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      repeat(3, [] { return ::eventfd(0, 0); });
      const pid_t own = ::getpid();
      if (::write(telling, &own, sizeof own) < 0) ::_exit(1);
      ::close(telling);
      ::close(900);
      for (;;) ::pause();
    }
    ::close(telling);
  });
  REQUIRE(::read(ends[0], &second, sizeof second) == sizeof second);
  for (const int fd : {ends[0], ends[1], telling}) ::close(fd);
  CHECK(census_of({first.pid(), second}).files == 4 + 3);
  CHECK(census_of({second}).files == 7);
  ::kill(second, SIGKILL);
}

TEST_CASE("a thread with descriptors of its own is looked at, too") {
  if (!can_compare()) return;
  const Child child([] {
    repeat(2, [] { return ::eventfd(0, 0); });
    int ends[2];
    repeat(1, [&] { return ::pipe2(ends, O_CLOEXEC); });
    std::thread([end = ends[1]] {
      if (::unshare(CLONE_FILES) != 0) ::_exit(1);
      ::close(900);
      repeat(5, [] { return ::eventfd(0, 0); });
      if (::write(end, "x", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }).detach();
    char letter;
    if (::read(ends[0], &letter, 1) != 1) ::_exit(1);
    ::close(ends[0]);
    ::close(ends[1]);
  });
  // The pipe's ends stay open in the thread's table.
  CHECK(census_of({child.pid()}).files == 2 + 5 + 2);
}

TEST_CASE("memory that was asked for counts once for all that share it") {
  const Child small([] {});
  const Child large(
      [] { ::mmap(nullptr, 512 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); });
  const uint64_t one = census_of({small.pid()}).private_memory;
  CHECK(one > 0);
  CHECK(census_of({large.pid()}).private_memory >= one + (512 << 20));
  CHECK(census_of({large.pid()}).private_memory < one + (520 << 20));
  CHECK(census_of({small.pid(), small.pid()}).private_memory == one);
}

TEST_CASE("queued signals are counted by user") {
  const Child child([] {
    sigset_t blocked;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGRTMIN);
    ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
    for (int i = 0; i < 20; ++i) ::sigqueue(::getpid(), SIGRTMIN, {});
  });
  const auto queued = census_of({child.pid()}).queued_signals;
  REQUIRE(queued.count(::getuid()) == 1);
  CHECK(queued.at(::getuid()) >= 20);
}

TEST_CASE("a process that is gone is passed over, and time that is over is told") {
  pid_t gone = ::fork();
  if (gone == 0) ::_exit(0);
  ::waitpid(gone, nullptr, 0);
  const ProcessCensus nothing = census_of({gone, 0x3fffffff});
  CHECK(nothing.files == 0);
  CHECK(nothing.processes.empty());
  CHECK(nothing.is_complete);
  CHECK_FALSE(take_census({::getpid()}, 0s).is_complete);
}

TEST_CASE("locks are counted by who holds them") {
  const std::string text =
      "1: POSIX  ADVISORY  WRITE 10 08:01:1234 0 EOF\n"
      "1: -> POSIX  ADVISORY  WRITE 11 08:01:1234 0 EOF\n"
      "2: FLOCK  ADVISORY  WRITE 11 08:01:1235 0 EOF\n"
      "3: FLOCK  ADVISORY  READ 99 08:01:1236 0 EOF\n"
      "4: OFDLCK ADVISORY  WRITE -1 08:01:1237 0 EOF\n"
      "5: LEASE  ACTIVE    READ 10 08:01:1238 0 EOF\n"
      "6: POSIX  ADVISORY  WRITE 98 08:01:1239 0 EOF\n"
      "7: FLOCK  ADVISORY  WRITE 50 08:01:1240 0 EOF\n"
      "broken line\n";
  const auto count = count_lock_lines(text, {10, 11}, [](pid_t process) { return process == 50; });
  CHECK(count.held == 3);
  CHECK(count.orphan == 2);  // 99's, who is gone, and the open file description's
}

TEST_CASE("locks of each kind are found, also one whose taker has ended") {
  TemporaryDirectory place;
  const std::string path = place.path() + "/file";
  const Child child([&] {
    const int held = ::open(path.c_str(), O_RDWR | O_CREAT, 0600);
    const int other = ::open(path.c_str(), O_RDWR);
    const int third = ::open((path + "2").c_str(), O_RDWR | O_CREAT, 0600);
    struct flock range = {};
    range.l_type = F_WRLCK;
    range.l_len = 10;
    if (::fcntl(held, F_SETLK, &range) != 0) ::_exit(1);
    range.l_start = 100;
    if (::fcntl(other, F_OFD_SETLK, &range) != 0) ::_exit(1);
    const pid_t taker = ::fork();
    if (taker == 0) ::_exit(::flock(third, LOCK_EX));
    int status = 0;
    if (::waitpid(taker, &status, 0) != taker || status != 0) ::_exit(1);
  });
  CHECK(count_file_locks(census_of({child.pid()})).count == 3);
}

TEST_CASE("only devpts counts as one") {
  const std::string mounts =
      "24 1 0:22 / / rw,relatime - overlay overlay rw\n"
      "30 24 0:30 / /dev/pts rw,nosuid - devpts devpts rw,gid=5,mode=620,ptmxmode=666,max=1024\n"
      "31 24 0:31 / /dev/shm rw - tmpfs tmpfs rw\n";
  CHECK(devpts_options(mounts, 30) == "rw,gid=5,mode=620,ptmxmode=666,max=1024");
  CHECK_FALSE(devpts_options(mounts, 31));
  CHECK_FALSE(devpts_options(mounts, 99));
  CHECK_FALSE(devpts_options("30\n", 30));
}
