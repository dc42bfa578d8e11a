// Files that are the user's own, not Holm's: whatever becomes of a container, they stay.
#include <doctest/doctest.h>
#include <sys/mount.h>

#include <csignal>

#include "base/error.h"
#include "base/file.h"
#include "tests/support/inside.h"

using namespace holm;
using namespace holm::test;

namespace {

std::string files_below(const std::string& directory) {
  return run_host({"find", directory, "-not", "-path", "*/proc*", "-not", "-path", "*/etc*", "-printf",
                   "%p %y %m %U:%G %s\n"})
      .out;
}

}  // namespace

TEST_CASE("a root directory and mounted directories outlive the container, however it ends") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string root = installation.directory() + "/root", data = installation.directory() + "/data";
  // On the file system of the run directory: there a device number does not tell that something is mounted.
  run_host({"cp", "-a", installation.state_directory() + "/templates/busybox/root", root});
  run_host({"mkdir", "-p", root + "/srv/own/deep", data + "/own"});
  replace_file(root + "/srv/own/file", "mine\n");
  replace_file(data + "/own/file", "mine\n");
  run_host({"chmod", "700", root});
  const std::string lines =
      "root = \"" + root + "\"\n[[mount]]\nsource = \"" + data + "\"\ntarget = \"/data\"\n";
  const std::string config = installation.write_config("box", "command = [\"/bin/true\"]\n" + lines);
  installation.holm_ok({"run", "--rm", config});  // makes the mount points
  const std::string before = files_below(root) + files_below(data);
  CHECK(before.find("/srv/own/file") != std::string::npos);
  CHECK(before.find("/bin/busybox") != std::string::npos);

  for (int i = 0; i < 2; ++i) {
    installation.holm_ok({"run", "--rm", config});
    CHECK(files_below(root) + files_below(data) == before);
    CHECK(list_directory(installation.run_directory()).empty());
  }
  const std::string idle =
      installation.write_config("idle", "command = [\"/bin/sleep\", \"1000\"]\n" + lines);
  for (const std::vector<std::string>& end :
       {std::vector<std::string>{"destroy", "--force", "idle"}, {"kill", "idle"}, {"stop", "idle"}}) {
    installation.holm_ok({"start", idle});
    installation.holm_ok(end);
    installation.holm({"wait", "idle"});
    installation.holm({"destroy", "--force", "idle"});
    installation.holm_ok({"gc"});
    CHECK(files_below(root) + files_below(data) == before);
  }
  // A killed monitor, and what on_crash says.
  installation.holm_ok({"start", idle});
  const pid_t monitor = installation.monitor_of("idle");
  REQUIRE(monitor > 1);
  ::kill(monitor, SIGKILL);
  installation.holm_ok({"destroy", "--force", "idle"});
  CHECK(files_below(root) + files_below(data) == before);
  const std::string crashing =
      installation.write_config("crash", "command = [\"/bin/false\"]\non_crash = \"destroy\"\n" + lines);
  installation.holm_ok({"start", crashing});
  CHECK(eventually([&] { return installation.column("crash", "state").empty(); }));
  CHECK(eventually([&] { return list_directory(installation.run_directory()).empty(); }));
  CHECK(files_below(root) + files_below(data) == before);
}

TEST_CASE("removing a tree stops at what is mounted in it, of the same file system, too") {
  HOLM_REQUIRES("root", have_root());
  TemporaryDirectory directory;
  const std::string precious = directory.path() + "/precious", tree = directory.path() + "/tree";
  run_host({"mkdir", "-p", precious + "/deep", tree + "/mounted"});
  replace_file(precious + "/deep/file", "mine\n");
  REQUIRE(::mount(precious.c_str(), (tree + "/mounted").c_str(), nullptr, MS_BIND, nullptr) == 0);
  CHECK_THROWS_WITH_AS(sys::remove_tree(tree), doctest::Contains("something is mounted there"), Error);
  CHECK(read_file(precious + "/deep/file") == "mine\n");
  REQUIRE(::umount((tree + "/mounted").c_str()) == 0);
  CHECK(sys::remove_tree(tree));
  CHECK(read_file(precious + "/deep/file") == "mine\n");
}
