// Processes that wait in vfork(2) for their child to begin its program: what CRIU cannot stop while that
// child stands still.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <chrono>

#include "tests/support/criu.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;

namespace {

bool goes_on(const Installation& installation, const std::string& name = "box") {
  return counts_beyond(installation, name, counted(installation, name));
}

// A child that does not come to its program while the test lasts. The pid of its parent, on the host.
std::string start_long(const Installation& installation) {
  installation.start("box", starter(10'000'000));
  const std::string init = installation.column("box", "pid");
  const auto has_child = [&] {
    return read_file_if_exists(fmt::format("/proc/{0}/task/{0}/children", init)).value_or("") != "";
  };
  REQUIRE(eventually(has_child));
  return init;
}

}  // namespace

TEST_CASE("a container that starts programs all the time is saved, suspended and restored") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", starter(30));
  CHECK(goes_on(installation));
  for (int i = 0; i < 6; ++i) {
    installation.holm_ok({"checkpoint", "box"});
    CHECK(goes_on(installation));
  }
  for (int i = 0; i < 4; ++i) {
    installation.holm_ok({"stop", "--checkpoint", "box"});
    installation.holm_ok({"start", "box"});
    CHECK(goes_on(installation));
  }
}

TEST_CASE("a program that does not begin is named, and the container runs on") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  const std::string init = start_long(installation);
  const Result check = installation.holm({"check", "box"});
  CHECK(check.status == 0);
  CHECK_MESSAGE(check.out.contains("waits    process 2 ('load') in it: vfork: "), check.out);
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"checkpoint", "--timeout", std::to_string(patience()) + "s", "box"},
        {"save", "--leave-running", "box", installation.directory() + "/box.holm"},
        {"stop", "--checkpoint", "box"}}) {
    const Result result = installation.holm(words);
    CHECK(result.status == 1);
    CHECK_MESSAGE(result.errors.contains(
                      fmt::format("process {} on this host, \"load\", waits in vfork(2) for process", init)),
                  result.errors);
    CHECK(installation.column("box", "state") == "running");
  }
}

TEST_CASE("a container that was paused in vfork stays as it is") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  start_long(installation);
  installation.holm_ok({"pause", "box"});
  const Result result = installation.holm({"checkpoint", "box"});
  CHECK(result.status == 1);
  CHECK_MESSAGE(result.errors.contains("waits in vfork(2)"), result.errors);
  CHECK_MESSAGE(result.errors.contains("hint: it is paused in this moment"), result.errors);
  CHECK(installation.column("box", "state") == "paused");
}
