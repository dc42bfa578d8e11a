#include <doctest/doctest.h>
#include <sched.h>
#include <sys/wait.h>

#include <chrono>

#include "base/file.h"
#include "isolation/id_map.h"
#include "tests/unit/isolation/child.h"

using namespace holm;
using namespace holm::isolation;

TEST_CASE("a container's ids are the host's from the range's first on") {
  const IdRange range{.first = 131072};
  CHECK(host_id(range, 0) == 131072);
  CHECK(host_id(range, 65535) == 196607);
  CHECK_THROWS_WITH_AS(host_id(range, 65536), "id 65536 does not exist in the container: it has 0..65535",
                       Error);
  CHECK(id_map_text(range) == "0 131072 65536");
}

TEST_CASE("a range that would give the host's own ids, or the id that means none, is refused") {
  for (const IdRange& bad :
       {IdRange{.first = 0}, IdRange{.first = 65535}, IdRange{.first = 65536, .count = 0},
        IdRange{.first = 4294901760}, IdRange{.first = 4294967295, .count = 1}}) {
    CAPTURE(bad.first);
    CHECK_THROWS_WITH_AS(id_map_text(bad), doctest::Contains("is not within 65536..4294967294"), Error);
    CHECK_THROWS_AS(host_id(bad, 0), Error);
    CHECK_THROWS_AS(make_user_namespace_fd(bad), Error);
  }
  CHECK_NOTHROW(check_id_range({.first = 4294901759}));
}

TEST_CASE("a user namespace for id-mapped mounts has the map, allows setgroups and leaves no process") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: needs root");
    return;
  }
  const UniqueFd user_namespace = make_user_namespace_fd({.first = 3'000'000'000});
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
  CHECK(errno == ECHILD);
  const std::string maps = test::in_child([&] {
    sys::set_namespaces(user_namespace.get(), CLONE_NEWUSER, "test");
    return read_file("/proc/self/uid_map") + read_file("/proc/self/gid_map") +
           read_file("/proc/self/setgroups");
  });
  CHECK(maps == "         0 3000000000      65536\n         0 3000000000      65536\nallow\n");
}

TEST_CASE("a map that the kernel refuses leaves no process behind") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: needs root");
    return;
  }
  const std::string text = test::in_child([]() -> std::string {
    // Inside a user namespace only its own ids can be given on.
    const UniqueFd outer = make_user_namespace_fd({.first = 3'000'000'000});
    sys::set_namespaces(outer.get(), CLONE_NEWUSER, "test");
    if (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0) return "cannot become root inside";
    try {
      make_user_namespace_fd({.first = 131072});
    } catch (const Error& error) {
      return error.message() +
             (::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD ? ", no child" : ", a child");
    }
    return "made";
  });
  CAPTURE(text);
  CHECK(text.starts_with("write '0 131072 65536' to '/proc/"));
  CHECK(text.ends_with(", no child"));
}
