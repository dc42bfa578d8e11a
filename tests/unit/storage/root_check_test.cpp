#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "storage/root_check.h"
#include "tests/support/temporary_directory.h"

using namespace holm;

namespace {

std::string check(const std::string& path) {
  try {
    storage::check_root_file_system(sys::open(path, O_PATH | O_DIRECTORY).get(), "/srv/x");
  } catch (const Error& error) {
    return error.report();
  }
  return "fine";
}

}  // namespace

TEST_CASE("a directory with programs is a root file system, merged /usr included") {
  test::TemporaryDirectory directory;
  sys::make_directories(directory.path() + "/usr/bin", 0755);
  CHECK(check(directory.path()) == "fine");
  REQUIRE(::symlink("usr/bin", (directory.path() + "/bin").c_str()) == 0);
  CHECK(check(directory.path()) == "fine");
}

TEST_CASE("links out of the root, FIFOs and files do not pass for program directories") {
  test::TemporaryDirectory directory;
  REQUIRE(::symlink("/usr/bin", (directory.path() + "/bin").c_str()) == 0);
  REQUIRE(::symlink("../../../../../usr/sbin", (directory.path() + "/sbin").c_str()) == 0);
  REQUIRE(::mkfifo((directory.path() + "/usr").c_str(), 0600) == 0);
  CHECK(check(directory.path())
            .starts_with("'/srv/x' is not a root file system: no /bin, /sbin, /usr/bin or /usr/sbin in it"));
}

TEST_CASE("what a directory is instead of a root file system is said") {
  test::TemporaryDirectory directory;
  CHECK(check(directory.path()).ends_with("hint: it is empty"));
  sys::make_directories(directory.path() + "/rootfs/bin", 0755);
  CHECK(check(directory.path())
            .ends_with("hint: everything lies below 'rootfs/': name that directory, or pack the archive "
                       "inside it: tar -C rootfs -cf FILE ."));
  write_file_durably(directory.path() + "/manifest.json", "{}");
  CHECK(check(directory.path()).find("image made of layers") != std::string::npos);
}

TEST_CASE("one link at the top is not taken for the directory that has everything") {
  test::TemporaryDirectory directory;
  REQUIRE(::symlink("/", (directory.path() + "/rootfs").c_str()) == 0);
  CHECK(check(directory.path()).find("everything lies below") == std::string::npos);
}
