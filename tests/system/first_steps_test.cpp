#include <doctest/doctest.h>

#include "tests/support/holm_runner.h"

using namespace holm::test;

TEST_CASE("a command runs in a container of its own and its exit status comes back") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string config = installation.write_config(
      "hello", "command = [\"/bin/sh\", \"-c\", \"hostname; echo oops >&2; exit 7\"]\n");
  const Result result = installation.holm({"run", "--rm", config});
  CHECK(result.status == 7);
  CHECK(result.out == "hello\n");
  CHECK(result.errors == "oops\n");
}

TEST_CASE("a started container is listed, run in, paused, resumed, stopped and gone") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", "command = [\"/bin/sleep\", \"1000\"]\n");
  CHECK(installation.column("box", "state") == "running");
  CHECK(installation.holm({"exec", "box", "hostname"}).out == "box\n");
  installation.holm_ok({"pause", "box"});
  CHECK(installation.column("box", "state") == "paused");
  installation.holm_ok({"resume", "box"});
  installation.holm_ok({"stop", "box"});
  CHECK(installation.column("box", "state") == "stopped");
  installation.holm_ok({"destroy", "box"});
  CHECK(installation.column("box", "state").empty());
}
