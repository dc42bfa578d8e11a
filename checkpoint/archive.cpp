#include "checkpoint/archive.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/interruption.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/store.h"
#include "storage/child_program.h"
#include "storage/unpack_program.h"

namespace holm::checkpoint {
namespace {

// Memory compresses well at any level; more would cost time in which the container stands still.
constexpr int kLevel = 1;
constexpr uint64_t kMaxEntries = 2'000'000;
// More than there is room for: where the disk is full, the kernel says it best.
constexpr uint64_t kBeyondRoom = uint64_t{1} << 30;
constexpr auto kLookAgain = std::chrono::milliseconds(200);

// Of zstd's own functions: throws with its reason.
size_t checked(size_t result) {
  if (::ZSTD_isError(result)) throw Error(fmt::format("compress: {}", ::ZSTD_getErrorName(result)));
  return result;
}

class Compressor {
 public:
  explicit Compressor(int output) : output_(output), context_(::ZSTD_createCCtx(), ::ZSTD_freeCCtx) {
    if (!context_) throw Error("compress: out of memory");
    checked(::ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, kLevel));
    checked(::ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1));
    // A library without threads refuses, and works on one CPU.
    ::ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_nbWorkers,
                             static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
    buffer_.resize(::ZSTD_CStreamOutSize());
  }

  void write(std::string_view data) { feed(data, ZSTD_e_continue); }
  void finish() { feed({}, ZSTD_e_end); }

 private:
  void feed(std::string_view data, ZSTD_EndDirective directive) {
    ZSTD_inBuffer in = {data.data(), data.size(), 0};
    for (;;) {
      ZSTD_outBuffer out = {buffer_.data(), buffer_.size(), 0};
      const size_t left = checked(::ZSTD_compressStream2(context_.get(), &out, &in, directive));
      sys::write_all(output_, {buffer_.data(), out.pos}, "the checkpoint");
      if (directive == ZSTD_e_end ? left == 0 : in.pos == in.size) return;
    }
  }

  int output_;
  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context_;
  std::vector<char> buffer_;
};

uint64_t size_of(const Manifest& manifest) {
  uint64_t total = 0;
  for (const Part& part : manifest.parts) total += part.size;
  return total;
}

// A directory of our own on the disk where temporary files are.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = "/var/tmp/holm-checkpoint.XXXXXX";
    if (!::mkdtemp(pattern.data())) throw Error::system("make a temporary directory");
    path_ = pattern;
  }
  ~ScratchDirectory() {
    ignore_errors([&] { sys::remove_tree(path_); });  // the system's cleaner of temporary files finds it
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Tells now and then how far a file has been read that another process reads through the same open file.
class OffsetWatch {
 public:
  OffsetWatch(int fd, const Progress& progress) {
    struct stat status = {};
    if (!progress || ::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return;
    thread_ = std::jthread(
        [this, fd, &progress, total = static_cast<uint64_t>(status.st_size)](std::stop_token stop) {
          std::unique_lock lock(mutex_);
          while (!woken_.wait_for(lock, stop, kLookAgain, [&] { return stop.stop_requested(); })) {
            const off_t offset = ::lseek(fd, 0, SEEK_CUR);
            progress({"read", static_cast<uint64_t>(std::max<off_t>(offset, 0)), total});
          }
        });
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any woken_;
  std::jthread thread_;
};

}  // namespace

void pack(const std::string& directory, int output, const Progress& progress) {
  const uint64_t total = size_of(read_manifest(directory));
  storage::ChildProgram tar;
  tar.command = {
      find_program("tar"), "--create",    "--format=gnu", "--numeric-owner", "--owner=0", "--group=0",
      "--mode=u=rwX,go=",  "--directory", directory,      "manifest.json",   "images"};
  if (sys::exists(directory + "/files.tar")) tar.command.emplace_back("files.tar");
  tar.errors = storage::ChildErrors::dropped;
  Compressor compressor(output);
  uint64_t done = 0;
  const int status = storage::run_child_program(tar, [&](std::string_view chunk) {
    Interruption::check();
    compressor.write(chunk);
    done += chunk.size();
    if (progress) progress({"write", std::min(done, total), total});
  });
  if (status != 0) throw Error(fmt::format("pack the checkpoint: tar ended with status {}", status));
  compressor.finish();
}

void unpack(int input, const std::string& directory, const Progress& progress) {
  struct statvfs space = {};
  if (::statvfs(directory.c_str(), &space) != 0) throw Error::system(fmt::format("look at '{}'", directory));
  const uint64_t room = static_cast<uint64_t>(space.f_bavail) * space.f_frsize;
  const UniqueFd target = sys::open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const OffsetWatch watch(input, progress);
  const auto report = storage::run_unpack_program(storage::ImportSource::archive, input, target.get(),
                                                  room + kBeyondRoom, kMaxEntries);
  if (!report.notes.empty())
    throw Error(fmt::format("it holds what is no part of a checkpoint: {}", report.notes.front()));
}

Manifest read_manifest_of_file(int input) {
  const ScratchDirectory scratch;
  unpack(input, scratch.path(), {});
  return read_manifest(scratch.path());
}

}  // namespace holm::checkpoint
