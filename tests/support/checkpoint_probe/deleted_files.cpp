// Files and directories that have no name any more, or lost one of two, while they are open.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>

#include "object.h"
#include "partner.h"

namespace probe {
namespace {

struct stat status_of(const Fd& fd) {
  struct stat status = {};
  must(::fstat(fd.get(), &status), "fstat");
  return status;
}

// CRIU gives such a file a name for a moment, which must not stay.
void expect_no_remains() {
  DIR* directory = must(::opendir(in_directory("").c_str()), "opendir");
  std::string found;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name.find("link_remap") != std::string::npos || name.find("cr.") != std::string::npos ||
        name.find("ghost") != std::string::npos)
      found = name;
  }
  ::closedir(directory);
  expect(found.empty(), "there is a file '" + found + "'");
}

enum class Made { by_unlink, without_name };

class DeletedFile : public Object {
 public:
  DeletedFile(size_t size, Made made) : size_(size), made_(made) {}
  void set_up() override {}
  void change(int round) override {
    if (made_ == Made::without_name) {
      file_ = Fd(must(::open(in_directory("").c_str(), O_TMPFILE | O_RDWR, 0640), "open with O_TMPFILE"));
    } else {
      const std::string path = in_directory(text("deleted-file-", size_));
      file_ = open_file(path, O_RDWR | O_CREAT | O_TRUNC);
      must(::unlink(path.c_str()), "unlink");
    }
    must(::fchmod(file_.get(), 0640), "fchmod");
    write_all(file_.get(), pattern(size_, static_cast<uint64_t>(round)));
  }
  void verify(int round) override {
    const struct stat status = status_of(file_);
    expect_equal("links", status.st_nlink, 0U);
    expect_equal("mode", status.st_mode & 07777, 0640U);
    expect_equal("size", status.st_size, size_);
    expect_equal("offset", must(::lseek(file_.get(), 0, SEEK_CUR), "lseek"), size_);
    must(::lseek(file_.get(), 0, SEEK_SET), "lseek");
    expect_data(file_.get(), "deleted file", pattern(size_, static_cast<uint64_t>(round)));
    write_all(file_.get(), "more");
    expect_no_remains();
  }

 private:
  size_t size_;
  Made made_;
  Fd file_;
};

// Deleted while only a mapping holds it, and by two processes.
class DeletedMappedFile : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    const std::string path = in_directory("deleted-mapped-file");
    {
      const Fd file = open_file(path, O_RDWR | O_CREAT | O_TRUNC);
      must(::ftruncate(file.get(), kSize), "ftruncate");
      memory_ = must(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0), "mmap");
    }
    must(::unlink(path.c_str()), "unlink");
    fill_pattern(memory_, kSize, seed(round));
    child_.emplace(Inherits::descriptors,
                   [this](int now) { fill_pattern(memory_, kSize, seed(now) + 1000); });
  }
  void verify(int round) override {
    expect_pattern("memory", memory_, kSize, seed(round));
    child_->ask(round);
    expect_pattern("memory that a child has written", memory_, kSize, seed(round) + 1000);
    must(::munmap(memory_, kSize), "munmap");
    expect_no_remains();
  }

 private:
  static constexpr size_t kSize = 100'000;
  static uint64_t seed(int round) { return static_cast<uint64_t>(round); }
  void* memory_ = nullptr;
  std::optional<Partner> child_;
};

// One of its two names is gone, the one that it was opened by.
class LinkedFile : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    const std::string gone = in_directory("linked-file-gone");
    ::unlink(path().c_str());
    file_ = open_file(gone, O_RDWR | O_CREAT | O_TRUNC);
    must(::link(gone.c_str(), path().c_str()), "link");
    must(::unlink(gone.c_str()), "unlink");
    write_all(file_.get(), text("content ", round));
  }
  void verify(int round) override {
    expect_equal("links", status_of(file_).st_nlink, 1U);
    expect_equal("file by its other name", read_file(path()), text("content ", round));
    write_all(file_.get(), ", more");
    expect_equal("file by its other name", read_file(path()), text("content ", round, ", more"));
    expect_equal("inode", status_of(file_).st_ino, status_of(open_file(path(), O_RDONLY)).st_ino);
    expect_no_remains();
  }

 private:
  static std::string path() { return in_directory("linked-file"); }
  Fd file_;
};

// Another file has been put under its name.
class ReplacedFile : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    write_file(path(), text("old ", round));
    file_ = open_file(path(), O_RDONLY);
    write_file(path() + ".new", text("new ", round));
    must(::rename((path() + ".new").c_str(), path().c_str()), "rename");
  }
  void verify(int round) override {
    expect_data(file_.get(), "replaced file", text("old ", round));
    expect_equal("new file", read_file(path()), text("new ", round));
    expect_no_remains();
  }

 private:
  static std::string path() { return in_directory("replaced-file"); }
  Fd file_;
};

class DeletedDirectory : public Object {
 public:
  void set_up() override {}
  void change(int) override {
    child_.emplace(Inherits::descriptors, [](int request) {
      if (request == kBegin) {
        must(::mkdir(path().c_str(), 0750), "mkdir");
        must(::chdir(path().c_str()), "chdir");
        must(::rmdir(path().c_str()), "rmdir");
      }
      const Fd here = open_file(".", O_RDONLY | O_DIRECTORY);
      expect_equal("links", status_of(here).st_nlink, 0U);
      expect_equal("mode", status_of(here).st_mode & 07777, 0750U);
      expect(::open("file", O_WRONLY | O_CREAT, 0600) < 0,
             "a file can be made in a directory that is not there");
    });
    child_->ask(kBegin);
  }
  void verify(int) override {
    child_->ask(kVerify);
    expect(::access(path().c_str(), F_OK) != 0, "the directory is there again");
    expect_no_remains();
  }

 private:
  enum Request { kBegin, kVerify };
  static std::string path() { return in_directory("deleted-directory"); }
  std::optional<Partner> child_;
};

constexpr Kind kKinds[] = {
    {"deleted_file", make<DeletedFile, size_t(1000), Made::by_unlink>},
    {"deleted_file_big", make<DeletedFile, size_t(3 << 20), Made::by_unlink>},
    {"file_without_name", make<DeletedFile, size_t(2000), Made::without_name>},
    {"deleted_mapped_file", make<DeletedMappedFile>},
    {"linked_file", make<LinkedFile>},
    {"replaced_file", make<ReplacedFile>},
    {"deleted_directory", make<DeletedDirectory>},
};

}  // namespace

std::span<const Kind> deleted_file_objects() { return kKinds; }

}  // namespace probe
