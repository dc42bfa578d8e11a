#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/lease_directory.h"
#include "base/undo.h"
#include "tests/support/temporary_directory.h"

using namespace holm;

TEST_CASE("two owners never hold one number, and a full range says so") {
  test::TemporaryDirectory directory;
  LeaseDirectory leases(directory.path() + "/numbers");
  CHECK(leases.acquire("a", 1, 2) == 1U);
  CHECK(leases.acquire("b", 1, 2) == 2U);
  CHECK_FALSE(leases.acquire("c", 1, 2).has_value());
  leases.release(1, "b");  // not b's
  CHECK_FALSE(leases.acquire("c", 1, 2).has_value());
  leases.release(1, "a");
  CHECK(leases.acquire("c", 1, 2) == 1U);
}

TEST_CASE("many processes that ask at once get different numbers") {
  test::TemporaryDirectory directory;
  for (int child = 0; child < 16; ++child) {
    if (::fork() == 0) {
      LeaseDirectory leases(directory.path());
      ::_exit(leases.acquire(std::to_string(child), 1, 16) ? 0 : 1);
    }
  }
  int status = 0;
  while (::wait(&status) > 0) CHECK(status == 0);
  CHECK(LeaseDirectory(directory.path()).holders().size() == 16);
}

TEST_CASE("a file is written anew under a name of its own, whatever lies under that name") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/x.prom";
  const std::string temporary = path + "." + std::to_string(::getpid()) + ".new";
  REQUIRE(::mkfifo(temporary.c_str(), 0600) == 0);
  replace_file(path, "one", 0644);
  CHECK(read_file(path) == "one");
  REQUIRE(::symlink("/etc/passwd", temporary.c_str()) == 0);
  replace_file(path, "two", 0644);
  CHECK(read_file(path) == "two");
  CHECK(list_directory(directory.path()).size() == 1);
}

TEST_CASE("what killed processes were writing is removed, and nothing else") {
  const test::TemporaryDirectory directory;
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  const std::vector<std::string> stay = {"1.new", "a.new", "a.1.new", "a.x.new", "config.toml"};
  for (const std::string& name : stay) replace_file(directory.path() + "/" + name, "");
  replace_file(directory.path() + "/config.toml." + std::to_string(child) + ".new", "");
  remove_unfinished(directory.path());
  auto left = list_directory(directory.path());
  CHECK(std::ranges::is_permutation(left, stay));
}

TEST_CASE("a FIFO in a root is refused, not waited for, and links stay inside") {
  test::TemporaryDirectory directory;
  REQUIRE(::mkfifo((directory.path() + "/fifo").c_str(), 0600) == 0);
  REQUIRE(::symlink("/etc/passwd", (directory.path() + "/outside").c_str()) == 0);
  const UniqueFd root = sys::open(directory.path(), O_PATH | O_DIRECTORY);
  CHECK_THROWS_WITH_AS(read_file_in_root(root.get(), "/fifo"), doctest::Contains("not a regular file"),
                       Error);
  CHECK_FALSE(read_file_in_root(root.get(), "/outside").has_value());
}

TEST_CASE("what was made is undone in reverse, and a failing undo is told beside the cause") {
  std::string order;
  try {
    with_undo([&](UndoStack& undo) {
      undo.push("remove a", [&] { order += "a"; });
      undo.push("remove b", [&] {
        order += "b";
        throw Error("busy");
      });
      throw Error("cause");
    });
  } catch (const Error& error) {
    CHECK(error.report() == "cause\n  also: remove b: busy");
  }
  CHECK(order == "ba");
}

TEST_CASE("an error survives the way through a socket") {
  Error error = Error::system(1, "mount 'proc' on '/proc'");
  error.frame("cannot start container 'web'")
      .at("inside the container")
      .step("mount file systems")
      .hint("try")
      .exit_status(126);
  const Error copy = Error::decode(error.encode());
  CHECK(copy.report() == error.report());
  CHECK(copy.report() ==
        "cannot start container 'web': mount 'proc' on '/proc': Operation not permitted (EPERM)\n"
        "  at:   inside the container, step 'mount file systems'\n  hint: try");
  CHECK(copy.exit_status() == 126);
  CHECK(copy.error_number() == 1);
}

TEST_CASE("a tree that is deeper than there are descriptors is removed all the same") {
  test::TemporaryDirectory directory;
  const std::string top = directory.path() + "/top";
  sys::make_directory(top, 0700);
  UniqueFd at = sys::open(top, O_RDONLY | O_DIRECTORY);
  for (int depth = 0; depth < 3000; ++depth) {
    sys::make_directory_at(at.get(), "d", 0700);
    at = sys::open_at(at.get(), "d", O_RDONLY | O_DIRECTORY);
  }
  at.reset();
  CHECK(sys::remove_tree(top));
  CHECK_FALSE(sys::exists(top));
}
