// Memory of one process: content, protection, advice, growth.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "object.h"

namespace probe {
namespace {

constexpr size_t kPage = 4096;

char* map_memory(size_t size, int protection = PROT_READ | PROT_WRITE) {
  return static_cast<char*>(
      must(::mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), "mmap"));
}

uint64_t seed(int round) { return static_cast<uint64_t>(round); }

// The block of /proc/self/smaps for the region at this address.
std::string region_at(const void* address) {
  const std::string all = read_file("/proc/self/smaps");
  char begin[40];
  std::snprintf(begin, sizeof begin, "%lx-", reinterpret_cast<unsigned long>(address));
  const size_t at = all.starts_with(begin) ? 0 : all.find(std::string("\n") + begin);
  expect(at != std::string::npos, text("no region begins at ", begin));
  const size_t end = all.find("VmFlags:", at);
  return all.substr(at + 1, all.find('\n', end) - at);
}

void expect_flag(const void* address, const std::string& flag) {
  const std::string region = region_at(address);
  const std::string flags = region.substr(region.find("VmFlags:"));
  expect(flags.find(" " + flag) != std::string::npos, "no flag '" + flag + "' in " + flags);
}

class PrivateMemory : public Object {
 public:
  void set_up() override { memory_ = map_memory(kSize); }
  void change(int round) override { fill_pattern(memory_, kSize, seed(round)); }
  void verify(int round) override { expect_pattern("memory", memory_, kSize, seed(round)); }

 private:
  static constexpr size_t kSize = 16 << 20;
  char* memory_ = nullptr;
};

// A few pages of a large region; the rest is zero and costs nothing.
class SparseMemory : public Object {
 public:
  void set_up() override { memory_ = map_memory(kSize); }
  void change(int round) override {
    for (size_t at = 0; at < kSize; at += kStep) fill_pattern(memory_ + at, kPage, seed(round) + at);
  }
  void verify(int round) override {
    for (size_t at = 0; at < kSize; at += kStep)
      expect_pattern(text("page at ", at), memory_ + at, kPage, seed(round) + at);
    unsigned char is_present = 1;
    must(::mincore(memory_ + kStep / 2, kPage, &is_present), "mincore");
    expect_equal("an untouched page takes memory", is_present & 1, 0);
    expect_equal("byte of an untouched page", memory_[kStep / 2 + kPage], 0);
    must(::madvise(memory_ + kStep / 2, 2 * kPage, MADV_DONTNEED), "madvise");
  }

 private:
  static constexpr size_t kSize = 256 << 20, kStep = 32 << 20;
  char* memory_ = nullptr;
};

// No access, read only, executable: in that order between two pages with data.
class GuardRegions : public Object {
 public:
  void set_up() override {
    memory_ = map_memory(5 * kPage);
    must(::mprotect(memory_ + kPage, kPage, PROT_NONE), "mprotect");
    fill_pattern(memory_ + 2 * kPage, kPage, 2);
    must(::mprotect(memory_ + 2 * kPage, kPage, PROT_READ), "mprotect");
    must(::mprotect(memory_ + 3 * kPage, kPage, PROT_READ | PROT_EXEC), "mprotect");
    pipe_ = make_pipe();
  }
  void change(int round) override {
    fill_pattern(memory_, kPage, seed(round));
    fill_pattern(memory_ + 4 * kPage, kPage, seed(round) + 1);
  }
  void verify(int round) override {
    expect_pattern("page before", memory_, kPage, seed(round));
    expect_pattern("page behind", memory_ + 4 * kPage, kPage, seed(round) + 1);
    expect_pattern("read-only page", memory_ + 2 * kPage, kPage, 2);
    const char* expected[] = {"rw-p", "---p", "r--p", "r-xp", "rw-p"};
    for (size_t i = 0; i < std::size(expected); ++i) {
      const std::string region = region_at(memory_ + i * kPage);
      expect_equal(text("protection of page ", i), region.substr(region.find(' ') + 1, 4), expected[i]);
    }
    errno = 0;  // the kernel reads it for us, and says so
    expect(::write(pipe_.writer.get(), memory_ + kPage, 1) < 0 && errno == EFAULT, "the guard can be read");
  }

 private:
  char* memory_ = nullptr;
  Pipe pipe_;
};

class LockedMemory : public Object {
 public:
  void set_up() override {
    memory_ = map_memory(4 * kPage);
    must(::mlock(memory_, 2 * kPage), "mlock");
  }
  void change(int round) override { fill_pattern(memory_, 4 * kPage, seed(round)); }
  void verify(int round) override {
    expect_pattern("memory", memory_, 4 * kPage, seed(round));
    expect_flag(memory_, "lo");
    expect_equal("locked memory", status_field("self", "VmLck"), "8 kB");
  }

 private:
  char* memory_ = nullptr;
};

struct Advice {
  int value;
  const char* flag;
};
constexpr Advice kAdvice[] = {{MADV_DONTFORK, "dc"},
                              {MADV_DONTDUMP, "dd"},
                              {MADV_WIPEONFORK, "wf"},
                              {MADV_HUGEPAGE, "hg"},
                              {MADV_NOHUGEPAGE, "nh"}};

class MemoryAdvice : public Object {
 public:
  void set_up() override {
    for (size_t i = 0; i < std::size(kAdvice); ++i) {
      // With a gap between any two, as the kernel would make one region of them.
      regions_[i] = map_memory(2 * kPage);
      must(::mprotect(regions_[i] + kPage, kPage, PROT_NONE), "mprotect");
      is_known_[i] = ::madvise(regions_[i], kPage, kAdvice[i].value) == 0;
    }
  }
  void change(int round) override {
    for (char* region : regions_) fill_pattern(region, kPage, seed(round));
  }
  void verify(int round) override {
    for (size_t i = 0; i < std::size(kAdvice); ++i) {
      expect_pattern(text("region ", i), regions_[i], kPage, seed(round));
      if (is_known_[i]) expect_flag(regions_[i], kAdvice[i].flag);
    }
  }

 private:
  char* regions_[std::size(kAdvice)] = {};
  bool is_known_[std::size(kAdvice)] = {};
};

class HugePages : public Object {
 public:
  void set_up() override {
    char* memory = map_memory(kSize + kHuge);
    const auto address = reinterpret_cast<uintptr_t>(memory);
    memory_ = memory + (kHuge - address % kHuge) % kHuge;
    ::madvise(memory_, kSize, MADV_HUGEPAGE);  // a kernel without them gives small ones
  }
  void change(int round) override { fill_pattern(memory_, kSize, seed(round)); }
  void verify(int round) override { expect_pattern("memory", memory_, kSize, seed(round)); }

 private:
  static constexpr size_t kSize = 4 << 20, kHuge = 2 << 20;
  char* memory_ = nullptr;
};

// The stack of the process's first thread: what is on it stays, and it grows further each round.
class Stack : public Object {
 public:
  void set_up() override {}
  void change(int) override {}
  void verify(int round) override {
    const int depth = 30 * (round + 1);
    expect_equal("sum of what was on the stack", use(depth), depth * (depth + 1) / 2 * kPattern);
  }

 private:
  static constexpr int kPattern = 3;
  __attribute__((noinline)) static int use(int depth) {
    volatile char here[10'000];
    for (volatile char& byte : here) byte = kPattern;
    const int deeper = depth > 1 ? use(depth - 1) : 0;
    for (const volatile char& byte : here) expect(byte == kPattern, "other content on the stack");
    return deeper + depth * here[depth % 10'000];
  }
};

// The heap of the C library, which the kernel moves the end of (brk).
class Heap : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    for (size_t size : {10UL, 1000UL, 50'000UL}) blocks_.push_back(pattern(size, seed(round)));
    end_ = ::sbrk(0);
  }
  void verify(int round) override {
    expect(::sbrk(0) == end_, "the heap ends elsewhere");
    size_t i = blocks_.size() - 3;
    for (size_t size : {10UL, 1000UL, 50'000UL})
      expect_pattern("block", blocks_[i++].data(), size, seed(round));
    expect(::sbrk(static_cast<intptr_t>(kPage)) == end_, "the heap cannot grow");
    expect_equal("byte of the new page", static_cast<const char*>(end_)[kPage - 1], 0);
    must(::brk(end_), "brk");
  }

 private:
  void* end_ = nullptr;
  std::vector<std::string> blocks_;
};

constexpr Kind kKinds[] = {
    {"private_memory", make<PrivateMemory>},
    {"sparse_memory", make<SparseMemory>},
    {"guard_regions", make<GuardRegions>},
    {"locked_memory", make<LockedMemory>},
    {"memory_advice", make<MemoryAdvice>},
    {"huge_pages", make<HugePages>},
    {"stack", make<Stack>},
    {"heap", make<Heap>},
};

}  // namespace

std::span<const Kind> memory_objects() { return kKinds; }

}  // namespace probe
