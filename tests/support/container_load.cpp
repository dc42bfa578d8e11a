// A static program that system tests put into containers: work that can be measured, and what would keep
// others from theirs.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

constexpr long kPage = 4096;
constexpr size_t kMebibyte = size_t{1} << 20;

int64_t now_ns() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Numbers that no compiler foresees.
struct Random {
  uint64_t state = 88172645463325252ULL;
  uint64_t next() {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
  }
};

// --- work: each prints how many rounds were done

template <typename Round>
int count_rounds(int64_t milliseconds, const Round& round) {
  const int64_t end = now_ns() + milliseconds * 1'000'000;
  long rounds = 0;
  for (; now_ns() < end; ++rounds)
    if (!round()) return 1;
  std::printf("%ld\n", rounds);
  return 0;
}

// Arithmetic, some memory, and a few system calls: what a program does that does not wait. The memory is less
// than a CPU's caches: nothing divides those among programs on one CPU, and what one finds gone from them
// after its neighbour's turn is not what is measured here.
int work(int64_t milliseconds) {
  static uint64_t memory[(64 << 10) / sizeof(uint64_t)];
  Random random;
  return count_rounds(milliseconds, [&] {
    for (int i = 0; i < 20000; ++i) memory[random.next() % (sizeof memory / sizeof *memory)] += random.state;
    for (int i = 0; i < 20; ++i) ::getppid();
    return true;
  });
}

int use_cpu(int64_t milliseconds) {
  Random random;
  return count_rounds(milliseconds, [&] {
    for (int i = 0; i < 100000; ++i) random.next();
    return random.state != 0;
  });
}

// Takes memory, changes it at random places, and gives it back.
int use_memory(int64_t milliseconds) {
  constexpr size_t kSize = 16 * kMebibyte;
  Random random;
  return count_rounds(milliseconds, [&] {
    void* const memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    auto* const words = static_cast<uint64_t*>(memory);
    for (int i = 0; i < 1000000; ++i) words[random.next() % (kSize / sizeof *words)] += random.state;
    return ::munmap(memory, kSize) == 0;
  });
}

// Cheap ones, of which a filter is the larger part.
int make_calls(int64_t milliseconds) {
  const int fd = ::open("/dev/null", O_RDWR);
  return count_rounds(milliseconds, [&] {
    char letter = 0;
    for (int i = 0; i < 500; ++i)
      if (::getppid() < 0 || ::write(fd, &letter, 1) != 1) return false;
    return true;
  });
}

// What a mail server or a build does: makes, writes, reads, renames and removes small files.
int use_files(const char* directory, int64_t milliseconds) {
  char first[256], second[256];
  std::snprintf(first, sizeof first, "%s/load.%d.a", directory, ::getpid());
  std::snprintf(second, sizeof second, "%s/load.%d.b", directory, ::getpid());
  static char block[16384];
  return count_rounds(milliseconds, [&] {
    const int fd = ::open(first, O_RDWR | O_CREAT | O_TRUNC, 0600);
    const bool done =
        fd >= 0 && ::write(fd, block, sizeof block) > 0 && ::close(fd) == 0 && ::rename(first, second) == 0;
    const int again = ::open(second, O_RDONLY);
    return done && ::read(again, block, sizeof block) > 0 && ::close(again) == 0 && ::unlink(second) == 0;
  });
}

// Reads a file past the page cache, 64 KiB at a time, over and over.
int read_disk(const char* path, int64_t milliseconds) {
  const int fd = ::open(path, O_RDONLY | O_DIRECT);
  struct stat status = {};
  if (fd < 0 || ::fstat(fd, &status) != 0) return 1;
  constexpr size_t kBlock = 65536;
  void* const buffer = ::aligned_alloc(kPage, kBlock);
  off_t at = 0;
  return count_rounds(milliseconds, [&] {
    const bool is_read = ::pread(fd, buffer, kBlock, at) >= 0;
    at = (at + off_t{kBlock}) % status.st_size;
    return is_read;
  });
}

// --- until it is killed

// Starts one program after the other as dash(1) and posix_spawn(3) do: its child has its memory until it
// begins the program, after so long. Writes 1, 2, 3, ... into `path`.
int start_programs(const char* path, long milliseconds) {
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  const timespec before = {milliseconds / 1000, milliseconds % 1000 * 1'000'000};
  for (long started = 1; fd >= 0; ++started) {
    const pid_t child = ::vfork();
    if (child == 0) {
      ::nanosleep(&before, nullptr);
      ::execl("/proc/self/exe", "container_load", "nothing", nullptr);
      ::_exit(1);
    }
    int status = 1;
    if (::waitpid(child, &status, 0) != child || status != 0) return 1;
    ::dprintf(fd, "%ld\n", started);
  }
  return 1;
}

// --- the worst that a neighbour does, until it is killed

int fork_bomb() {
  for (;;) {
    const pid_t child = ::fork();
    // At its pids.limit some end all the time, so that others can be made.
    if (child == 0 && Random{static_cast<uint64_t>(::getpid())}.next() % 4 == 0) ::_exit(0);
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}

int flood(const char* address) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  if (fd < 0 || ::inet_pton(AF_INET, address, &to.sin_addr) != 1) return 1;
  const char packet[64] = {};
  for (;;) ::sendto(fd, packet, sizeof packet, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

// Touches pages of `memory` for ever: more than fits is reclaimed and brought back, again and again.
[[noreturn]] void touch(volatile char* memory, size_t size, bool change) {
  Random random;
  for (size_t at = 0; change && at < size; at += size_t{kPage}) memory[at] = 1;  // each once, soon
  for (volatile char sum = 0;;) {
    volatile char* const page = memory + random.next() % (size / size_t{kPage}) * size_t{kPage};
    if (change) *page = static_cast<char>(*page + 1);
    sum = static_cast<char>(sum + *page);
  }
}

int touch_memory(size_t mebibytes) {
  void* const memory = ::mmap(nullptr, mebibytes * kMebibyte, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return 1;
  touch(static_cast<char*>(memory), mebibytes * kMebibyte, true);
}

int touch_file(const char* path, size_t mebibytes) {
  const int fd = ::open(path, O_RDWR | O_CREAT, 0600);
  if (fd < 0) return 1;
  static char block[kMebibyte];
  std::memset(block, 1, sizeof block);
  for (size_t i = 0; i < mebibytes; ++i)
    if (::write(fd, block, sizeof block) < 0) return 1;
  ::fsync(fd);
  void* const memory = ::mmap(nullptr, mebibytes * kMebibyte, PROT_READ, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return 1;
  ::madvise(memory, mebibytes * kMebibyte, MADV_RANDOM);
  touch(static_cast<char*>(memory), mebibytes * kMebibyte, false);
}

// Eight processes that write and read, some past the page cache and some through it with a sync after each
// MiB.
int hog_disk(const char* directory) {
  for (int i = 0; i < 7; ++i)
    if (::fork() == 0) break;
  char path[256];
  std::snprintf(path, sizeof path, "%s/hog.%d", directory, ::getpid());
  const bool direct = ::getpid() % 2 == 0;
  const int fd = ::open(path, O_RDWR | O_CREAT | (direct ? O_DIRECT : 0), 0600);
  void* const block = ::aligned_alloc(kPage, kMebibyte);
  if (fd < 0 || !block) return 1;
  std::memset(block, 1, kMebibyte);
  Random random{static_cast<uint64_t>(::getpid())};
  for (;;) {
    const auto at = static_cast<off_t>(random.next() % 8 * kMebibyte);
    if (::pwrite(fd, block, kMebibyte, at) < 0 || ::pread(fd, block, kMebibyte, at) < 0) ::usleep(1000);
    if (!direct) ::fdatasync(fd);
  }
}

}  // namespace

int main(int count, char** words) {
  const auto is = [&](const char* what, int least) { return count >= least && !std::strcmp(words[1], what); };
  if (is("work", 3)) return work(std::atol(words[2]));
  if (is("cpu", 3)) return use_cpu(std::atol(words[2]));
  if (is("memory", 3)) return use_memory(std::atol(words[2]));
  if (is("calls", 3)) return make_calls(std::atol(words[2]));
  if (is("files", 4)) return use_files(words[2], std::atol(words[3]));
  if (is("read-disk", 4)) return read_disk(words[2], std::atol(words[3]));
  if (is("nothing", 2)) return 0;
  if (is("start-programs", 4)) return start_programs(words[2], std::atol(words[3]));
  if (is("fork-bomb", 2)) return fork_bomb();
  if (is("flood", 3)) return flood(words[2]);
  if (is("touch-memory", 3)) return touch_memory(std::strtoul(words[2], nullptr, 10));
  if (is("touch-file", 4)) return touch_file(words[2], std::strtoul(words[3], nullptr, 10));
  if (is("hog-disk", 3)) return hog_disk(words[2]);
  std::fprintf(
      stderr,
      "usage: container_load "
      "work|cpu|memory|calls|files|read-disk|nothing|start-programs|fork-bomb|flood|touch-memory|touch-file|"
      "hog-disk ...\n");
  return 2;
}
