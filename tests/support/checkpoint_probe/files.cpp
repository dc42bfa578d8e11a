// Open files: where they stand, how they were opened, who shares them.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>

#include "object.h"
#include "partner.h"

namespace probe {
namespace {

off_t offset(const Fd& fd) { return must(::lseek(fd.get(), 0, SEEK_CUR), "lseek"); }
int flags(const Fd& fd) { return must(::fcntl(fd.get(), F_GETFL), "F_GETFL"); }

class FileOffset : public Object {
 public:
  void set_up() override {
    write_file(path(), pattern(10'000, 1));
    file_ = open_file(path(), O_RDWR | O_NOATIME | O_CLOEXEC);
  }
  void change(int round) override { must(::lseek(file_.get(), place(round), SEEK_SET), "lseek"); }
  void verify(int round) override {
    expect_equal("offset", offset(file_), place(round));
    expect_data(file_.get(), "file", pattern(10'000, 1).substr(static_cast<size_t>(place(round)), 100));
    expect_equal("flags", flags(file_) & (O_ACCMODE | O_NOATIME | O_APPEND), O_RDWR | O_NOATIME);
    expect_equal("close-on-exec", must(::fcntl(file_.get(), F_GETFD), "F_GETFD"), FD_CLOEXEC);
  }

 private:
  static std::string path() { return in_directory("file-with-offset"); }
  static off_t place(int round) { return 100 + round; }
  Fd file_;
};

class AppendedFile : public Object {
 public:
  void set_up() override {
    write_file(path(), "");
    file_ = open_file(path(), O_WRONLY | O_APPEND);
  }
  void change(int round) override {
    content_ += text("before ", round, "\n");
    write_all(file_.get(), text("before ", round, "\n"));
    must(::lseek(file_.get(), 0, SEEK_SET), "lseek");
  }
  void verify(int round) override {
    expect_equal("flags", flags(file_) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
    content_ += text("after ", round, "\n");
    write_all(file_.get(), text("after ", round, "\n"));
    expect_equal("file", read_file(path()), content_);
  }

 private:
  static std::string path() { return in_directory("appended-file"); }
  std::string content_;
  Fd file_;
};

// Copies in this process and in a child have one offset; a file that was opened twice has two.
class SharedOffset : public Object {
 public:
  void set_up() override {
    write_file(path(), pattern(10'000, 1));
    file_ = open_file(path(), O_RDONLY);
    copy_ = Fd(must(::fcntl(file_.get(), F_DUPFD_CLOEXEC, 40), "F_DUPFD_CLOEXEC"));
    another_ = open_file(path(), O_RDONLY);
    child_.emplace(Inherits::descriptors,
                   [this](int to) { must(::lseek(file_.get(), to, SEEK_SET), "lseek"); });
  }
  void change(int round) override {
    must(::lseek(file_.get(), 50 + round, SEEK_SET), "lseek");
    must(::lseek(another_.get(), 10, SEEK_SET), "lseek");
  }
  void verify(int round) override {
    expect_equal("offset of a copy", offset(copy_), 50 + round);
    must(::lseek(copy_.get(), 1000 + round, SEEK_SET), "lseek");
    expect_equal("offset of the file", offset(file_), 1000 + round);
    child_->ask(2000 + round);
    expect_equal("offset that a child has set", offset(copy_), 2000 + round);
    expect_equal("offset of the other open file", offset(another_), 10);
    expect_equal("close-on-exec", must(::fcntl(file_.get(), F_GETFD), "F_GETFD"), 0);
    expect_equal("close-on-exec of the copy", must(::fcntl(copy_.get(), F_GETFD), "F_GETFD"), FD_CLOEXEC);
  }

 private:
  static std::string path() { return in_directory("file-with-copies"); }
  Fd file_, copy_, another_;
  std::optional<Partner> child_;
};

// A directory to open files in, and a file that is only named (O_PATH).
class PathDescriptors : public Object {
 public:
  void set_up() override {
    ::mkdir(path().c_str(), 0755);
    directory_ = open_file(path(), O_RDONLY | O_DIRECTORY);
    write_file(path() + "/named", "content");
    named_ = open_file(path() + "/named", O_PATH);
  }
  void change(int round) override { write_file(path() + text("/file.", round), text("content ", round)); }
  void verify(int round) override {
    const std::string name = text("file.", round);
    const Fd file(must(::openat(directory_.get(), name.c_str(), O_RDONLY), "openat"));
    expect_data(file.get(), "file", text("content ", round));
    must(::unlinkat(directory_.get(), name.c_str(), 0), "unlinkat");
    expect_equal("flags", flags(named_) & O_PATH, O_PATH);
    expect_equal("content", read_file(text("/proc/self/fd/", named_.get())), "content");
  }

 private:
  static std::string path() { return in_directory("opened-directory"); }
  Fd directory_, named_;
};

// --- mapped files

constexpr size_t kPage = 4096;
constexpr size_t kMapped = 64 * kPage;

char* map_file(const Fd& file, int flags) {
  return static_cast<char*>(
      must(::mmap(nullptr, kMapped, PROT_READ | PROT_WRITE, flags, file.get(), 0), "mmap"));
}

class SharedMapping : public Object {
 public:
  void set_up() override {
    write_file(path(), std::string(kMapped, '\0'));
    file_ = open_file(path(), O_RDWR);
    memory_ = map_file(file_, MAP_SHARED);
  }
  void change(int round) override { fill_pattern(memory_, kMapped, seed(round)); }
  void verify(int round) override {
    expect_pattern("memory", memory_, kMapped, seed(round));
    expect(read_file(path()) == pattern(kMapped, seed(round)), "the file has other content");
    must(::pwrite(file_.get(), "from the file", 13, 5 * kPage), "pwrite");
    expect_equal("what was written to the file", std::string(memory_ + 5 * kPage, 13), "from the file");
  }

 private:
  static std::string path() { return in_directory("mapped-file"); }
  static uint64_t seed(int round) { return static_cast<uint64_t>(round); }
  Fd file_;
  char* memory_ = nullptr;
};

// Every second page has been written to; the others are still the file's.
class PrivateMapping : public Object {
 public:
  void set_up() override {
    write_file(path(), pattern(kMapped, 1));
    memory_ = map_file(open_file(path(), O_RDONLY), MAP_PRIVATE);
  }
  void change(int round) override {
    for (size_t at = 0; at < kMapped; at += 2 * kPage) fill_pattern(memory_ + at, kPage, seed(round) + at);
  }
  void verify(int round) override {
    const std::string file = pattern(kMapped, 1);
    for (size_t at = 0; at < kMapped; at += 2 * kPage) {
      expect_pattern(text("page at ", at), memory_ + at, kPage, seed(round) + at);
      expect(file.compare(at + kPage, kPage, memory_ + at + kPage, kPage) == 0,
             text("page at ", at + kPage, ": not the file's"));
    }
    expect(read_file(path()) == file, "the file has changed");
  }

 private:
  static std::string path() { return in_directory("private-mapped-file"); }
  static uint64_t seed(int round) { return static_cast<uint64_t>(round) * kMapped; }
  char* memory_ = nullptr;
};

constexpr Kind kKinds[] = {
    {"file_offset", make<FileOffset>},
    {"appended_file", make<AppendedFile>},
    {"shared_offset", make<SharedOffset>},
    {"path_descriptors", make<PathDescriptors>},
    {"shared_file_mapping", make<SharedMapping>},
    {"private_file_mapping", make<PrivateMapping>},
};

}  // namespace

std::span<const Kind> file_objects() { return kKinds; }

}  // namespace probe
