// A container with a connection that is kept, whatever happens to the commands
// that save and restore it.
#pragma once

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/criu.h"

namespace holm::test {

// Counts in a shell and sends back at port 7000 what comes in.
class KeptContainer {
 public:
  KeptContainer() {
    installation.start("box", echo_server());
    connect();
    // A file that the shell has open for a moment is in no two of three looks.
    int same = 0;
    CHECK(eventually([&] {
      const std::string before = std::exchange(standing_, census());
      same = standing_ == before ? same + 1 : 0;
      return same == 2;
    }));
  }
  // Another run, with a connection of its own.
  void start_anew() {
    installation.holm_ok({"stop", "-k", "box"});
    sys::remove_file(upper_of(installation, "box") + "/root/count");
    installation.holm_ok({"start", "box"});
    connect();
  }

  // The steps that HOLM_FAULT can name, each once.
  std::vector<std::string> trace_of(const std::vector<std::string>& words) const {
    const std::string path = installation.directory() + "/trace";
    const Result result = installation.holm(words, {{"HOLM_FAULT_TRACE", path}});
    CHECK_MESSAGE(result.status == 0, result.errors);
    std::vector<std::string> steps;
    for (const std::string& step : split(read_file(path), '\n'))
      if (!step.empty() && std::ranges::find(steps, step) == steps.end()) steps.push_back(step);
    sys::remove_file(path);
    return steps;
  }
  Result fails(const std::vector<std::string>& words, const std::string& fault) const {
    return installation.holm(words, {{"HOLM_FAULT", fault}});
  }
  std::string state() const { return installation.column("box", "state"); }
  // Only looked at in its files: no command has had the chance to help.
  int count() const { return counted(installation, "box"); }
  std::string store() const { return installation.state_directory() + "/containers/box/checkpoint"; }

  // The next command, as soon as CRIU and a monitor that was killed have ended.
  void recover() const {
    CHECK(eventually([&] {
      const std::string now = state();
      return now != "starting" && now != "stopping";
    }));
    const std::string mark = installation.run_directory() + "/box/dump";
    CHECK(eventually([&] { return installation.holm({"gc"}).status == 0 && !sys::exists(mark); }));
    // Nobody can remove what a killed command had in a directory of its user's.
    for (const std::string& name : list_directory(installation.directory()))
      if (name.contains(".new")) sys::remove_file(installation.directory() + "/" + name);
  }
  // It counts, its connection is alive, and there is as much of everything as
  // there was.
  void runs_on() const {
    REQUIRE(state() == "running");
    goes_on();
    is_clean();
  }
  // The same, without that any other command has been said.
  void goes_on() const {
    CHECK(counts_beyond(installation, "box", count()));
    REQUIRE(connection->echoes(fmt::format("still {}\n", ++echoes_)));
  }
  void is_clean() const {
    std::string now;
    CHECK_MESSAGE(eventually([&] { return (now = census()) == standing_; }, std::chrono::seconds(5)), now,
                  "\n-- instead of:\n", standing_);
  }
  // The tag's files with their contents.
  std::string digest_of(const std::string& tag) const {
    return run_host(
               {"sh", "-c", "cd " + store() + "/" + tag + " && find . -type f -exec sha256sum {} + | sort"})
        .out;
  }

  Installation installation;
  std::unique_ptr<Connection> connection;

 private:
  void connect() {
    connection = std::make_unique<Connection>(addresses_of(installation, "box")[0], 7000);
    CHECK(connection->echoes("hello\n"));
  }
  // Everything that must not come or go with what is done to checkpoints.
  std::string census() const {
    std::vector<std::string> found;
    for (const std::string& thing : installation.leftovers())
      found.push_back(thing.starts_with("monitor ") ? "a monitor" : thing);
    for (const std::string& parent : installation.cgroup_parents())
      for (const std::string& name : list_directory(parent))
        if (parse_unsigned(name)) found.push_back("cgroup " + parent + " " + name);
    const std::string container = installation.state_directory() + "/containers/box";
    for (const std::string& name : list_directory(container))
      // The files that were there before a restore go with the next command
      // that finds it stopped.
      if (name != "checkpoint" && name != "upper.stale") found.push_back("in its directory: " + name);
    for (const std::string& name : list_directory(store()))
      if (name.front() == '.') found.push_back("in its store: " + name);
    for (const std::string& name : list_directory(installation.directory()))
      if (name.contains(".new")) found.push_back("beside it: " + name);
    // CRIU and what it has begun: by the files that it has open, as it keeps
    // nothing of our environment.
    for (const std::string& pid : list_directory("/proc")) {
      std::string output;
      ignore_errors([&] { output = sys::read_link("/proc/" + pid + "/fd/1"); });  // no process, or it ended
      if (output.starts_with(installation.run_directory()) && output.contains("criu.out"))
        found.push_back("CRIU's process " + pid);
    }
    const std::string init = std::to_string(installation.pid_of("box"));
    if (init != "0")
      found.push_back("descriptors of init: " +
                      std::to_string(list_directory("/proc/" + init + "/fd").size()));
    std::sort(found.begin(), found.end());
    return join(found, "\n");
  }

  std::string standing_;
  mutable int echoes_ = 0;
};

}  // namespace holm::test
