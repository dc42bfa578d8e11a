// Checkpoints that a container keeps: by tag, and the one that it was suspended to.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/criu.h"
#include "tests/support/pty_program.h"
#include "tests/support/tcp.h"

using namespace holm;
using namespace holm::test;
using namespace std::chrono_literals;
using nlohmann::json;

TEST_CASE("the older of two checkpoints rolls files and memory back, and both are listed and removed") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", counter());
  CHECK(counts_beyond(installation, "box", 3));
  inside(installation, "box", "echo old > /root/state; touch /root/only-old");
  installation.holm_ok({"checkpoint", "box", "older"});
  const int older = counted(installation, "box");
  CHECK(counts_beyond(installation, "box", older + 20));
  inside(installation, "box", "echo new > /root/state; rm /root/only-old; touch /root/only-new");
  const Result made = installation.holm({"checkpoint", "box"});
  CHECK_MESSAGE(made.status == 0, made.errors);
  CHECK(made.errors.find("frozen for ") != std::string::npos);

  const json list = json::parse(installation.holm_ok({"--json", "checkpoint", "list", "box"}));
  REQUIRE(list.size() == 2);
  for (const json& one : list) {
    CHECK((one["tag"] == "older" || one["tag"] == "latest"));
    CHECK(one["processes"] >= 1);
    CHECK(one["bytes"] > 10000);
  }
  const std::string table = installation.holm_ok({"checkpoint", "list", "box"});
  CHECK(table.starts_with("TAG"));
  CHECK(table.find("\nolder") != std::string::npos);
  const std::string text = installation.holm_ok({"checkpoint", "inspect", "box", "older"});
  CHECK(text.find("container: box\n") != std::string::npos);
  CHECK(text.find("files:     in the checkpoint\n") != std::string::npos);
  CHECK(text.find("/bin/sh -c i=0; while") != std::string::npos);
  const json manifest =
      json::parse(installation.holm_ok({"--json", "checkpoint", "inspect", "box", "older"}));
  CHECK(manifest["name"] == "box");
  CHECK(manifest["format"] == 1);
  CHECK(manifest["processes"][0]["pid"] == 1);
  CHECK(installation.holm_ok({"checkpoint", "inspect", "--config", "box"}) ==
        read_file(installation.state_directory() + "/containers/box/config.toml"));

  CHECK(installation.holm({"restore", "box", "older"}).errors ==
        "holm: cannot restore container 'box': it is running\n  hint: stop it first: 'holm stop box'\n");
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", "--paused", "box", "older"});
  const int back = counted(installation, "box");
  CHECK_MESSAGE((back > 3 && back <= older), back);
  installation.holm_ok({"resume", "box"});
  CHECK(answer(installation, "box", "cat /root/state; ls /root") == "old\ncount\nonly-old\nstate");
  CHECK(counts_beyond(installation, "box", back));
  // It is used as often as one likes; and without a tag it is the last one.
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", "box", "older"});
  CHECK(answer(installation, "box", "cat /root/state") == "old");
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", "box"});
  CHECK(answer(installation, "box", "cat /root/state; ls /root") == "new\ncount\nonly-new\nstate");
  // The tag again takes the place of what had it.
  installation.holm_ok({"checkpoint", "box", "older"});
  installation.holm_ok({"stop", "-k", "box"});
  installation.holm_ok({"restore", "box", "older"});
  CHECK(answer(installation, "box", "cat /root/state") == "new");

  installation.holm_ok({"checkpoint", "remove", "box", "older"});
  CHECK(json::parse(installation.holm_ok({"--json", "checkpoint", "list", "box"})).size() == 1);
  installation.holm_ok({"stop", "-k", "box"});
  CHECK(installation.holm({"restore", "box", "older"}).errors ==
        "holm: cannot restore container 'box': it has no checkpoint 'older'\n  hint: it has: latest\n");
  installation.holm_ok({"checkpoint", "remove", "box", "latest"});
  CHECK(installation.holm({"restore", "box"}).errors ==
        "holm: cannot restore container 'box': it has no checkpoint 'latest'\n  hint: 'holm checkpoint box' "
        "makes one of a running container\n");
  CHECK(list_directory(installation.state_directory() + "/containers/box/checkpoint").empty());
  // What goes on from a start is not touched by all of this.
  installation.holm_ok({"start", "box"});
  CHECK(answer(installation, "box", "cat /root/state") == "new");
}

TEST_CASE("what is not there or cannot be is refused, with what to do") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", counter());
  const std::string nobody =
      "holm: there is no container 'nobody'\n  hint: 'holm list -a' shows all containers\n";
  const auto says = [&](const std::vector<std::string>& words) {
    const Result result = installation.holm(words);
    CHECK((result.status == 1 || result.status == 2));
    CHECK(result.out.empty());
    return result.errors;
  };
  CHECK(says({"save", "nobody", installation.directory() + "/x"}) == nobody);
  CHECK_FALSE(sys::exists(installation.directory() + "/x"));
  CHECK(says({"restore", "nobody"}) == nobody);
  CHECK(says({"checkpoint", "nobody"}) == nobody);
  CHECK(says({"checkpoint", "list", "nobody"}) == nobody);
  CHECK(says({"checkpoint", "inspect", "nobody"}) == nobody);
  CHECK(says({"checkpoint", "remove", "nobody", "x"}) == nobody);
  CHECK(says({"clone", "--live", "nobody", "copy"}) == nobody);
  CHECK(says({"stop", "--checkpoint", "nobody"}) == nobody);
  CHECK(says({"checkpoint", "inspect", "box", "x"}) ==
        "holm: it has no checkpoint 'x'\n  hint: 'holm checkpoint box' makes one of a running container\n");
  CHECK(says({"checkpoint", "remove", "box", "x"}).starts_with("holm: it has no checkpoint 'x'\n"));
  CHECK(says({"checkpoint", "box", "suspended"}) ==
        "holm: 'suspended' is the tag of 'holm stop --checkpoint'\n  hint: choose another one\n");
  for (const char* tag : {"../x", "a/b", ".", "A B", "-", "x.y", ""}) {
    CAPTURE(tag);
    CHECK(says({"checkpoint", "box", tag}).find("is no tag\n") != std::string::npos);
    CHECK(says({"checkpoint", "remove", "box", tag}).find("is no tag\n") != std::string::npos);
  }
  CHECK(says({"stop", "--checkpoint", "-k", "box"}).find("have no meaning with it") != std::string::npos);
  CHECK(says({"restore", installation.directory() + "/nothing.holm"})
            .find("No such file or directory (ENOENT)") != std::string::npos);
  CHECK(says({"restore", installation.directory()}).find("is no regular file") != std::string::npos);
  run_host({"mkfifo", installation.directory() + "/fifo"});
  CHECK(says({"restore", installation.directory() + "/fifo"}).find("is no regular file") !=
        std::string::npos);
  CHECK(says({"save", "box", "/no/such/directory/x"}).find("No such file or directory") != std::string::npos);
  CHECK(says({"clone", "box", "copy"}).find("'--live' clones a running container") != std::string::npos);
  CHECK(says({"clone", "--live", "box", "box"}).find("a clone needs a name of its own") != std::string::npos);
  CHECK(says({"clone", "--live", "box", "No Name"}) != "");
  CHECK(says({"restore", "box", "--name", "x"}).find("'--name' goes with a file") != std::string::npos);
  const int number = counted(installation, "box");
  CHECK(counts_beyond(installation, "box", number));  // it has noticed nothing
  installation.holm_ok({"stop", "-k", "box"});
  const std::string stopped = "container 'box' is not running";
  CHECK(says({"save", "box", installation.directory() + "/x"}).find(stopped) != std::string::npos);
  CHECK(says({"checkpoint", "box"}).find(stopped) != std::string::npos);
  CHECK(says({"stop", "--checkpoint", "box"}).find(stopped) != std::string::npos);
  CHECK(says({"clone", "--live", "box", "copy"}).find(stopped) != std::string::npos);
  CHECK(installation.column("copy", "state").empty());
  for (const std::string& name : list_directory(installation.directory()))
    CHECK(name.find(".new") == std::string::npos);
}

TEST_CASE("a suspended container waits: it is listed so, kept by a rename, and given up only by --fresh") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("box", "on_crash = \"stop\"\n" + counter());
  CHECK(counts_beyond(installation, "box", 2));
  suspend(installation, "box");
  CHECK(installation.column("box", "reason") == "saved to a checkpoint");
  CHECK(installation.holm_ok({"checkpoint", "list", "box"}).find("in the container's directory") !=
        std::string::npos);
  const Result run = installation.holm({"run", "box"});
  CHECK(run.status == 125);
  CHECK(run.errors ==
        "holm: cannot start container 'box': its processes wait in the checkpoint that it was stopped with\n"
        "  hint: 'holm start box' goes on from there; 'holm start --fresh box' gives them up\n");
  CHECK(installation.holm({"exec", "box", "true"}).status == 125);
  CHECK(installation.holm({"stop", "box"}).status == 1);
  const int number = counted(installation, "box");
  installation.holm_ok({"rename", "box", "other"});
  CHECK(installation.column("other", "state") == "suspended");
  go_on(installation, "other");
  CHECK(counts_beyond(installation, "other", number));
  CHECK(list_directory(installation.state_directory() + "/containers/other/checkpoint").empty());

  // Once used, it is gone: the next start is a new one.
  installation.holm_ok({"stop", "-k", "other"});
  CHECK(installation.column("other", "state") == "stopped");
  installation.holm_ok({"start", "other"});
  CHECK(eventually([&] {
    return read_file(upper_of(installation, "other") + "/root/count").find("\n1\n2\n") != std::string::npos;
  }));

  suspend(installation, "other");
  sys::remove_file(upper_of(installation, "other") + "/root/count");
  installation.holm_ok({"start", "--fresh", "other"});
  CHECK(counts_beyond(installation, "other", 1));
  CHECK(list_directory(installation.state_directory() + "/containers/other/checkpoint").empty());
  suspend(installation, "other");
  installation.holm_ok({"stop", "--all"});
  installation.holm_ok({"destroy", "other"});
  CHECK(installation.column("other", "state").empty());

  installation.start("one", counter());
  installation.start("two", counter());
  installation.holm_ok({"create", installation.write_config("never", counter())});
  installation.holm_ok({"stop", "--checkpoint", "--all"});
  CHECK(installation.column("one", "state") == "suspended");
  CHECK(installation.column("two", "state") == "suspended");
  CHECK(installation.column("never", "state") == "stopped");
  installation.holm_ok({"start", "one", "two"});
  CHECK(counts_beyond(installation, "two", counted(installation, "two")));
}

TEST_CASE("when the host goes down each is saved or stopped, as its config says") {
  HOLM_REQUIRES("root, CRIU", have_criu());
  const Installation installation;
  installation.start("kept", "on_host_shutdown = \"checkpoint\"\n" + counter());
  installation.start("other", counter());
  // A process group of another pid namespace is what CRIU cannot save.
  installation.start("refused", "on_host_shutdown = \"checkpoint\"\n" + shell("unshare -p -f sleep 1000"));
  installation.holm_ok(
      {"create", installation.write_config("idle", "on_host_shutdown = \"checkpoint\"\n" + counter())});
  CHECK(counts_beyond(installation, "kept", 3));
  CHECK(eventually([&] { return inside(installation, "refused", "pidof sleep").status == 0; }));
  const Result result = installation.holm({"stop", "--host-shutdown", "--timeout", "1s"});
  CHECK_MESSAGE(result.status == 0, result.errors);
  CHECK_MESSAGE(result.errors.find("container 'refused' is stopped instead") != std::string::npos,
                result.errors);
  CHECK(installation.column("kept", "state") == "suspended");
  for (const char* name : {"other", "refused", "idle"})
    CHECK(installation.column(name, "state") == "stopped");
  const int before = counted(installation, "kept");
  go_on(installation, "kept");
  CHECK(counts_beyond(installation, "kept", before));
  CHECK(installation.holm({"stop", "--host-shutdown", "kept"}).status == 2);
}
