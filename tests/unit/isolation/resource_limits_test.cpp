#include <doctest/doctest.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "isolation/capabilities.h"
#include "isolation/resource_limits.h"
#include "tests/unit/isolation/child.h"

using namespace holm;
using namespace holm::isolation;

namespace {

std::string limits_text(int number) {
  rlimit limit{};
  ::getrlimit(static_cast<__rlimit_resource>(number), &limit);
  return std::to_string(limit.rlim_cur) + " " + std::to_string(limit.rlim_max);
}

bool same(const rlimit& some, const rlimit& others) {
  return some.rlim_cur == others.rlim_cur && some.rlim_max == others.rlim_max;
}

}  // namespace

TEST_CASE("resource limits have the names of setrlimit") {
  CHECK(resource_limit_names().size() == RLIMIT_NLIMITS);
  CHECK(resource_limit_number("nofile") == RLIMIT_NOFILE);
  CHECK(resource_limit_number("stack") == RLIMIT_STACK);
  for (const char* bad : {"", "NOFILE", "RLIMIT_NOFILE", "files"}) CHECK(resource_limit_number(bad) == -1);
}

TEST_CASE("a limit of the spec is both the soft and the hard one") {
  CHECK(test::in_child([] {
          apply_resource_limits({{"nofile", 100}, {"core", 0}});
          return limits_text(RLIMIT_NOFILE) + ", " + limits_text(RLIMIT_CORE);
        }) == "100 100, 0 0");
}

TEST_CASE("odd soft limits of whoever starts a container do not become its own") {
  CHECK(same(default_limit("cpu", {10, RLIM_INFINITY}), {RLIM_INFINITY, RLIM_INFINITY}));
  CHECK(same(default_limit("as", {1000, 5000}), {5000, 5000}));
  CHECK(same(default_limit("nofile", {1'000'000, 1'000'000}), {1024, 524288}));
  CHECK(same(default_limit("nofile", {20000, 20000}), {1024, 20000}));
  CHECK(same(default_limit("nofile", {64, 512}), {512, 512}));
  CHECK(same(default_limit("core", {RLIM_INFINITY, RLIM_INFINITY}), {0, RLIM_INFINITY}));
  CHECK(same(default_limit("stack", {RLIM_INFINITY, RLIM_INFINITY}), {8 << 20, RLIM_INFINITY}));
  CHECK(same(default_limit("memlock", {1, 2}), {1, 2}));
}

TEST_CASE("defaults need no right, whatever was inherited") {
  CHECK(test::in_child([] {
          const rlimit odd = {50, 60};
          for (const char* name : {"nofile", "core", "stack", "cpu"})
            if (std::string(name) != "stack")
              ::setrlimit(static_cast<__rlimit_resource>(resource_limit_number(name)), &odd);
          if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0)
            return std::string("cannot give up root");
          apply_resource_limits({});
          return limits_text(RLIMIT_NOFILE) + ", " + limits_text(RLIMIT_CORE) + ", " +
                 limits_text(RLIMIT_CPU);
        }) == "60 60, 0 60, 60 60");
}

TEST_CASE("a hard limit that may not be raised is an error that says what the host has and what to do") {
  const std::string text = test::in_child([] {
    const rlimit low = {50, 50};
    ::setrlimit(RLIMIT_NOFILE, &low);
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return std::string("cannot give up root");
    apply_resource_limits({{"nofile", 65536}});
    return std::string("done");
  });
  CHECK(
      text.starts_with("error: set resource limit 'nofile' to 65536: Operation not permitted (EPERM)\n  "
                       "hint: the host's hard limit "
                       "is 50 and only CAP_SYS_RESOURCE may raise it"));
}

TEST_CASE("an unknown limit is refused before any is set") {
  CHECK_THROWS_WITH_AS(apply_resource_limits({{"core", 0}, {"files", 1}}), "no resource limit 'files'",
                       Error);
}
