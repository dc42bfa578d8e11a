// Good checkpoints, and evil ones that a test makes of them: in a container's
// own store, and as files.
#pragma once

#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/criu.h"
#include "tests/support/image_messages.h"

namespace holm::test {

inline std::string read_all(const std::string& path) { return read_file(path, size_t{1} << 30); }

// A program in the place of CRIU that only tells that it was started.
class StartWatch {
 public:
  explicit StartWatch(const std::string& directory)
      : program_(directory + "/not-criu"), mark_(directory + "/criu-was-started") {
    replace_file(program_, "#!/bin/sh\ntouch " + mark_ + "\nexit 1\n");
    ::chmod(program_.c_str(), 0755);
  }
  const std::string& program() const { return program_; }
  bool was_started() const { return sys::exists(mark_); }

 private:
  std::string program_, mark_;
};

// Everything of the installation that stands, one a line: of cgroups the
// containers' own, as those above them may come and go.
inline std::string standing_of(const Installation& installation) {
  std::vector<std::string> found = installation.leftovers();
  std::erase_if(found, [](const std::string& thing) { return thing.starts_with("cgroup "); });
  for (const std::string& parent : installation.cgroup_parents())
    for (const std::string& name : list_directory(parent))
      if (parse_unsigned(name)) found.push_back("cgroup " + parent + " " + name);
  std::sort(found.begin(), found.end());
  return join(found, "\n");
}

// What the payload itself may do, asked by a file: it executes the probe, whose
// words are then in /root/said.
inline const char* const kPayload =
    "i=0; while :; do i=$((i+1)); echo $i >> /root/count; "
    "[ -e /root/ask ] && { rm /root/ask; /root/probe calls > /root/say; mv "
    "/root/say /root/said; }; "
    "sleep 0.02; done";

// A container "box" that is stopped, with a checkpoint "good" in its store, of
// which "evil" ones are made.
class EvilTag {
 public:
  EvilTag() : watch_(installation.directory()) {
    installation.start("box", shell(kPayload) + "[limits]\nnofile = 333\n[memory]\nlimit = \"200M\"\n");
    const Result put =
        installation.holm({"exec", "box", "sh", "-c", "cat > /root/probe; chmod 755 /root/probe"}, {},
                          read_all(built_program("container_probe")));
    CHECK_MESSAGE(put.status == 0, put.errors);
    CHECK(counts_beyond(installation, "box", 2));
    calls = ask();
    CHECK(calls.contains("keyctl=EPERM"));
    rights = rights_of_init();
    cgroups_ = cgroups_of_init();
    installation.holm_ok({"checkpoint", "box", "good"});
    installation.holm_ok({"stop", "-k", "box"});
    CHECK(eventually([&] { return !(standing_ = standing_of(installation)).contains("link "); }));
  }

  std::string store() const { return installation.state_directory() + "/containers/box/checkpoint/"; }
  std::string evil() const { return store() + "evil"; }
  std::vector<std::string> images() const { return list_directory(store() + "good/images"); }
  // The good one again, of which files are replaced.
  void make_evil() const {
    sys::remove_tree(evil());
    std::filesystem::copy(
        store() + "good", evil(),
        std::filesystem::copy_options::recursive | std::filesystem::copy_options::create_hard_links);
  }
  void change_manifest(const std::function<void(nlohmann::json&)>& body) const {
    auto manifest = nlohmann::json::parse(read_all(evil() + "/manifest.json"));
    body(manifest);
    replace_file(evil() + "/manifest.json", manifest.dump());
  }
  // So that the digests do not tell.
  void digest_anew() const {
    change_manifest([&](nlohmann::json& manifest) {
      std::vector<std::string> command = {"sha256sum"};
      for (const auto& part : manifest["parts"])
        command.push_back(evil() + "/" + part["path"].get<std::string>());
      const auto digests = split(run_host(command).out, '\n');
      size_t number = 0;
      for (auto& part : manifest["parts"]) {
        part["size"] = std::filesystem::file_size(evil() + "/" + part["path"].get<std::string>());
        part["digest"] = digests.at(number++).substr(0, 64);
      }
    });
  }
  // A good one but for each message of the images whose names begin so.
  void make_evil(const std::string& prefix, const std::function<void(ImageMessage&)>& body) const {
    make_evil();
    size_t found = 0;
    for (const std::string& name : images()) {
      if (!name.starts_with(prefix) || !name.ends_with(".img")) continue;
      change_image(evil() + "/images/" + name, body);
      ++found;
    }
    CHECK_MESSAGE(found > 0, prefix);
    digest_anew();
  }

  // Whatever is in it, the answer comes, and what CRIU writes meanwhile has a
  // bound.
  Result restore_evil() const {
    const Result result =
        holm_timed(installation, {"restore", "box", "evil"}, std::to_string(15 * patience()));
    CHECK_MESSAGE(result.status != 128 + SIGKILL, "it hangs");
    if (result.status == 128 + SIGKILL) end_processes();
    const auto log = sys::stat_path(installation.run_directory() + "/box/criu.log");
    CHECK((!log || log->st_size < (300 << 20)));
    return result;
  }
  // It is refused with these words, and everything is as it was.
  void refuses(const std::string& words) const {
    const Result result = restore_evil();
    CHECK(result.status == 1);
    CHECK_MESSAGE(result.errors.contains(words), result.errors);
    is_stopped();
  }
  // As above, and CRIU has not even been started.
  void refuses_at_once(const std::string& words) const {
    const Result result = installation.holm({"restore", "box", "evil"}, {{"HOLM_CRIU", watch_.program()}});
    CHECK((result.status == 1 || result.status == 2));  // 2: as for any config that is none
    CHECK_MESSAGE(result.errors.contains(words), result.errors);
    REQUIRE_MESSAGE(!watch_.was_started(), "CRIU was started: ", result.errors);
    is_stopped();
  }
  void is_stopped() const {
    CHECK(installation.column("box", "state") == "stopped");
    CHECK(list_directory(installation.state_directory() + "/containers") == std::vector<std::string>{"box"});
    CHECK(list_directory(installation.state_directory() + "/containers/box") ==
          std::vector<std::string>{"checkpoint", "config.toml", "identity.json", "upper", "work"});
    for (const std::string& name : list_directory(store())) CHECK_MESSAGE(name.front() != '.', name);
    std::string now;
    CHECK_MESSAGE(eventually([&] { return (now = standing_of(installation)) == standing_; }), now,
                  "\n-- instead of:\n", standing_);
  }
  // It is restored, with no more rights than it had.
  void restores_tamed() const {
    const Result result = restore_evil();
    REQUIRE_MESSAGE(result.status == 0, result.errors);
    CHECK(counts_beyond(installation, "box", counted(installation, "box")));
    CHECK(rights_of_init() == rights);
    CHECK(cgroups_of_init() == cgroups_);
    CHECK(ask() == calls);
    stop();
    is_stopped();
  }
  // Refused or restored, and then, as long as it lives, with what no process of
  // a container is without.
  void is_harmless() const {
    const Result result = restore_evil();
    CHECK_MESSAGE((result.status == 0 || result.status == 1), result.status, " ", result.errors);
    if (result.status == 0) {
      ignore_errors([&] {  // it may end at any time, as what it executes makes no sense
        const std::string now = rights_of_init();
        for (const char* key : {"CapBnd", "NoNewPrivs", "Seccomp:", "uid map", "gid map"})
          CHECK_MESSAGE(line_of(now, key) == line_of(rights, key), now);
        CHECK(cgroups_of_init() == cgroups_);
      });
      stop();
    }
    is_stopped();
  }

  void stop() const {
    installation.holm({"stop", "-k", "box"});
    installation.holm_ok({"gc"});  // away with the files that were there before
  }

  std::string rights_of_init() const {
    const std::string process = "/proc/" + std::to_string(installation.pid_of("box"));
    std::string all = read_file(process + "/limits") + "uid map" + read_file(process + "/uid_map") +
                      "gid map" + read_file(process + "/gid_map") + read_file(process + "/oom_score_adj");
    for (const std::string& line : split(read_file(process + "/status"), '\n'))
      for (const char* key : {"Cap", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups"})
        if (line.starts_with(key)) all += line + "\n";
    // Nice value, real-time priority and policy.
    const std::string stat = read_file(process + "/stat");
    const auto words = split_words(stat.substr(stat.rfind(')') + 2));
    all += words.at(16) + " " + words.at(37) + " " + words.at(38);
    return all + "\n" +
           nlohmann::json::parse(installation.holm_ok({"--json", "inspect", "box"}))["limits_in_kernel"]
               .dump();
  }
  static std::string line_of(const std::string& text, const std::string& key) {
    const size_t at = text.find(key);
    return at == std::string::npos ? "" : text.substr(at, text.find('\n', at) - at);
  }
  std::string ask() const {
    const std::string root = upper_of(installation, "box") + "/root";
    if (sys::exists(root + "/said")) sys::remove_file(root + "/said");
    CHECK(inside(installation, "box", "touch /root/ask").status == 0);
    CHECK(eventually([&] { return sys::exists(root + "/said"); }));
    return read_file_if_exists(root + "/said").value_or("");
  }

  Installation installation;
  std::string calls, rights;

 private:
  std::string cgroups_of_init() const {
    return read_file(fmt::format("/proc/{}/cgroup", installation.pid_of("box")));
  }
  // Of this container alone, which would fill the disk: the monitor and what it
  // has begun to restore.
  void end_processes() const {
    const pid_t monitor = installation.monitor_of("box"), init = installation.pid_of("box");
    for (const pid_t pid : {monitor, init})
      if (pid > 1) ::kill(pid, SIGKILL);
    installation.holm({"gc"});
  }

  StartWatch watch_;
  std::string cgroups_, standing_;
};

inline bool have_zstd() { return run_host({"sh", "-c", "command -v zstd tar"}).status == 0; }

// A checkpoint file "good.holm" that scripts can take apart into a directory
// "d" and put together as "evil.holm".
class EvilFile {
 public:
  EvilFile() : watch_(installation.directory()) {
    installation.start("box", counter());
    CHECK(counts_beyond(installation, "box", 2));
    installation.holm_ok({"save", "box", good()});
    installation.holm_ok({"destroy", "box"});
    look();
  }
  // Takes what stands now for what has to stand after each refusal.
  void look() { standing_ = standing_of(installation); }
  std::string good() const { return installation.directory() + "/good.holm"; }
  std::string evil() const { return installation.directory() + "/evil.holm"; }
  std::string parts() const { return installation.directory() + "/d"; }

  void take_apart() const {
    sys::remove_tree(parts());
    runs("mkdir d && zstd -q -d -c good.holm | tar -x -C d");
  }
  void put_together() const { runs("tar -C d -c manifest.json images files.tar | zstd -q -f -o evil.holm"); }
  void change_manifest(const std::function<void(nlohmann::json&)>& body) const {
    auto manifest = nlohmann::json::parse(read_all(parts() + "/manifest.json"));
    body(manifest);
    replace_file(parts() + "/manifest.json", manifest.dump());
  }
  void runs(const std::string& script) const {
    const Result result = run_host({"sh", "-c", "set -e; cd " + installation.directory() + "; " + script});
    REQUIRE_MESSAGE(result.status == 0, result.errors);
  }
  // With these words, without CRIU and within five seconds, and nothing of it
  // is left.
  void refuses_evil(const std::string& words = "") const {
    const auto begin = std::chrono::steady_clock::now();
    const Result result = installation.holm({"restore", evil()}, {{"HOLM_CRIU", watch_.program()}});
    CHECK_MESSAGE(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5) * patience(),
                  "it took long");
    CHECK_MESSAGE(result.status == 1, "status ", result.status, ": ", result.errors);
    CHECK_MESSAGE(result.errors.contains(words), result.errors);
    CHECK(std::ranges::all_of(result.errors, [](char c) { return c == '\n' || c >= ' '; }));
    REQUIRE_MESSAGE(!watch_.was_started(), "CRIU was started: ", result.errors);
    CHECK(list_directory(installation.state_directory() + "/containers").empty());
    CHECK(list_directory(installation.run_directory()).empty());
    CHECK(standing_of(installation) == standing_);
  }

  Installation installation;

 private:
  StartWatch watch_;
  std::string standing_;
};

}  // namespace holm::test
