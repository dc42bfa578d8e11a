// Memory that is shared between processes, and files that are memory.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "object.h"
#include "partner.h"

namespace probe {
namespace {

constexpr size_t kSize = 1 << 20;

uint64_t seed(int round) { return static_cast<uint64_t>(round); }

char* map_shared(int fd) {
  const int anonymous = fd < 0 ? MAP_ANONYMOUS : 0;
  return static_cast<char*>(
      must(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | anonymous, fd, 0), "mmap"));
}

// Each of parent and child sees what the other writes.
class SharedWithChild {
 public:
  void begin(char* memory) {
    memory_ = memory;
    child_.emplace(Inherits::descriptors, [memory](int round) {
      expect_pattern("memory in the child", memory, kSize, seed(round));
      fill_pattern(memory, kSize, seed(round) + 1000);
    });
  }
  void change(int round) { fill_pattern(memory_, kSize, seed(round)); }
  void verify(int round) {
    expect_pattern("memory", memory_, kSize, seed(round));
    child_->ask(round);
    expect_pattern("memory that the child has written", memory_, kSize, seed(round) + 1000);
  }

 private:
  char* memory_ = nullptr;
  std::optional<Partner> child_;
};

class SharedAnonymous : public Object {
 public:
  void set_up() override { shared_.begin(map_shared(-1)); }
  void change(int round) override { shared_.change(round); }
  void verify(int round) override { shared_.verify(round); }

 private:
  SharedWithChild shared_;
};

// shm_open(3): a file of /dev/shm that is mapped by two, and one that nobody has open.
class SharedFile : public Object {
 public:
  void set_up() override {
    struct stat status = {};
    if (::stat("/dev/shm", &status) != 0) throw Skipped("no /dev/shm");
    tear_down();
    file_ = Fd(must(::shm_open(name().c_str(), O_RDWR | O_CREAT | O_EXCL, 0600), "shm_open"));
    must(::ftruncate(file_.get(), kSize), "ftruncate");
    shared_.begin(map_shared(file_.get()));
  }
  void change(int round) override {
    shared_.change(round);
    write_file(closed_file(), pattern(5000, seed(round)));
    must(::chmod(closed_file().c_str(), 0640), "chmod");
  }
  void verify(int round) override {
    shared_.verify(round);
    const Fd another(must(::shm_open(name().c_str(), O_RDWR, 0), "shm_open"));
    expect_data(another.get(), "file that is mapped", pattern(kSize, seed(round) + 1000));
    expect(read_file(closed_file()) == pattern(5000, seed(round)),
           "the file that nobody had open has other content");
    struct stat status = {};
    must(::stat(closed_file().c_str(), &status), "stat");
    expect_equal("its mode", status.st_mode & 07777, 0640U);
  }
  void tear_down() override {
    ::shm_unlink(name().c_str());
    ::unlink(closed_file().c_str());
  }

 private:
  static std::string name() { return "/" + unique_name("memory"); }
  static std::string closed_file() { return "/dev/shm/" + unique_name("closed"); }
  Fd file_;
  SharedWithChild shared_;
};

// memfd_create(2), with seals.
class MemoryFile : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    file_ = Fd(must(::memfd_create("probe", MFD_ALLOW_SEALING | MFD_CLOEXEC), "memfd_create"));
    write_all(file_.get(), pattern(kSize, seed(round)));
    must(::fcntl(file_.get(), F_ADD_SEALS, seals(round)), "F_ADD_SEALS");
  }
  void verify(int round) override {
    expect_equal("seals", must(::fcntl(file_.get(), F_GET_SEALS), "F_GET_SEALS"), seals(round));
    expect_equal("offset", must(::lseek(file_.get(), 0, SEEK_CUR), "lseek"), kSize);
    must(::lseek(file_.get(), 0, SEEK_SET), "lseek");
    expect_data(file_.get(), "memfd", pattern(kSize, seed(round)));
    errno = 0;
    expect(::ftruncate(file_.get(), 10) < 0 && errno == EPERM, "a sealed file can be made smaller");
    expect_equal("a file without the seal can be written to", ::pwrite(file_.get(), "x", 1, 0),
                 round % 2 ? -1 : 1);
  }

 private:
  static int seals(int round) {
    return F_SEAL_SHRINK | F_SEAL_GROW | (round % 2 ? F_SEAL_WRITE | F_SEAL_SEAL : 0);
  }
  Fd file_;
};

// A memfd that two processes have mapped.
class MappedMemoryFile : public Object {
 public:
  void set_up() override {
    file_ = Fd(must(::memfd_create("mapped", 0), "memfd_create"));
    must(::ftruncate(file_.get(), kSize), "ftruncate");
    shared_.begin(map_shared(file_.get()));
  }
  void change(int round) override { shared_.change(round); }
  void verify(int round) override {
    shared_.verify(round);
    must(::lseek(file_.get(), 0, SEEK_SET), "lseek");
    expect_data(file_.get(), "memfd", pattern(kSize, seed(round) + 1000));
  }

 private:
  Fd file_;
  SharedWithChild shared_;
};

constexpr Kind kKinds[] = {
    {"shared_anonymous_memory", make<SharedAnonymous>},
    {"dev_shm", make<SharedFile>},
    {"memfd", make<MemoryFile>},
    {"memfd_mapped", make<MappedMemoryFile>},
};

}  // namespace

std::span<const Kind> shared_memory_objects() { return kKinds; }

}  // namespace probe
