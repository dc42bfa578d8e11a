// How much the files below a directory take.
#include "quotas/disk_use.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::quotas;
using namespace std::chrono_literals;
using holm::test::TemporaryDirectory;

namespace {

uint64_t blocks_of(const std::string& path) {
  struct stat status = {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return static_cast<uint64_t>(status.st_blocks) * 512;
}

}  // namespace

TEST_CASE("each file counts once, with what is allocated for it") {
  TemporaryDirectory place;
  const std::string top = place.path();
  std::ofstream(top + "/file") << std::string(100'000, 'x');
  ::mkdir((top + "/inner").c_str(), 0700);
  REQUIRE(::link((top + "/file").c_str(), (top + "/inner/again").c_str()) == 0);
  REQUIRE(::symlink("/", (top + "/inner/root").c_str()) == 0);
  REQUIRE(::symlink("..", (top + "/inner/loop").c_str()) == 0);
  REQUIRE(::mkfifo((top + "/fifo").c_str(), 0600) == 0);
  {
    std::ofstream sparse(top + "/sparse");
    sparse.seekp(1 << 30);
    sparse << "x";
  }
  const auto use = measure_disk_use(top, 10s);
  REQUIRE(use);
  CHECK(use->inodes == 6);  // file, inner, root, loop, fifo, sparse
  uint64_t bytes = 0;
  for (const char* name : {"file", "inner", "inner/root", "inner/loop", "fifo", "sparse"})
    bytes += blocks_of(top + "/" + name);
  CHECK(use->bytes == bytes);
  CHECK(use->bytes < 1 << 20);
  CHECK_FALSE(use->bytes_limit);
}

TEST_CASE("directories as deep as no path can name are counted with few descriptors") {
  TemporaryDirectory place;
  constexpr int kDepth = 500;
  UniqueFd at = sys::open(place.path(), O_PATH | O_DIRECTORY);
  for (int i = 0; i < kDepth; ++i) {
    sys::make_directory_at(at.get(), "directory", 0700);
    sys::make_directory_at(at.get(), "beside", 0700);
    at = sys::open_at(at.get(), "directory", O_PATH | O_DIRECTORY);
  }
  const auto use = measure_disk_use(place.path(), 60s);
  REQUIRE(use);
  CHECK(use->inodes == 2 * kDepth);
}

TEST_CASE("what takes too long is not known") {
  TemporaryDirectory place;
  for (int i = 0; i < 600; ++i) std::ofstream(fmt::format("{}/{}", place.path(), i));
  CHECK_FALSE(measure_disk_use(place.path(), 0ms));
  CHECK(measure_disk_use(place.path(), 60s)->inodes == 600);
}

TEST_CASE("a directory that is not there is an error that names it") {
  TemporaryDirectory place;
  CHECK_THROWS_WITH_AS(
      measure_disk_use(place.path() + "/none", 1s),
      fmt::format("open '{}/none': No such file or directory (ENOENT)", place.path()).c_str(), Error);
}

TEST_CASE("a whole file system is asked itself") {
  const auto use = measure_disk_use("/proc", 1s);  // no numbers, but a mount of its own
  REQUIRE(use);
  CHECK(use->bytes_limit == 0);
}
