// holm template: build, import, list, inspect, remove, as a user would.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/holm_runner.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

// A directory that is a small root file system.
std::string make_root(const Installation& installation) {
  const std::string root = installation.directory() + "/root";
  for (const char* directory : {"/bin", "/etc", "/srv"}) sys::make_directories(root + directory, 0755);
  std::filesystem::copy_file("/bin/busybox", root + "/bin/busybox");
  for (const char* applet : {"sh", "cat", "id", "sleep", "ls", "stat", "true"})
    CHECK(::symlink("busybox", (root + "/bin/" + applet).c_str()) == 0);
  replace_file(root + "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0644);
  replace_file(root + "/etc/motd", "of the template\n", 0644);
  CHECK(::chown((root + "/srv").c_str(), 33, 33) == 0);
  return root;
}

std::string make_archive(const std::string& root, const std::string& name, const std::string& option) {
  const Result tar = run_host({"tar", option, name, "-C", root, "."});
  CHECK_MESSAGE(tar.status == 0, tar.errors);
  return name;
}

json inspect(const Installation& installation, const std::string& name) {
  return json::parse(installation.holm_ok({"--json", "template", "inspect", name}));
}

std::vector<std::string> templates(const Installation& installation) {
  return list_directory(installation.state_directory() + "/templates");
}

std::vector<std::string> steps_of(const std::string& trace) {
  std::vector<std::string> steps;
  for (const std::string& step : split(read_file(trace), '\n'))
    if (!step.empty() && std::find(steps.begin(), steps.end(), step) == steps.end()) steps.push_back(step);
  return steps;
}

}  // namespace

TEST_CASE("a busybox template is built under a name, listed, inspected and removed") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  CHECK(installation.holm_ok({"template", "build", "busybox", "--name", "second"}) ==
        "template 'second' is ready\n");
  const json made =
      json::parse(installation.holm_ok({"--json", "template", "build", "busybox", "--name", "third"}));
  CHECK(made.at("name") == "third");
  CHECK(made.at("kind") == "busybox");
  const auto lines = split(installation.holm_ok({"template", "list"}), '\n');
  CHECK(split_words(lines[0]) == std::vector<std::string>{"NAME", "KIND", "SUITE", "CREATED", "SOURCE"});
  CHECK(lines.size() == 5);
  const json list = json::parse(installation.holm_ok({"--json", "template", "list"}));
  REQUIRE(list.size() == 3);
  CHECK(list[0].at("name") == "busybox");
  CHECK(list[2].at("name") == "third");
  const json second = inspect(installation, "second");
  CHECK(second.at("disk_bytes").get<uint64_t>() > 500'000);
  CHECK(second.at("files").get<int>() > 100);
  CHECK(second.at("used_by") == json::array());
  CHECK(second.at("root") == installation.state_directory() + "/templates/second/root");
  CHECK(installation.holm_ok({"template", "inspect", "second"}).find("\nkind         busybox\n") !=
        std::string::npos);
  installation.holm_ok({"template", "remove", "second", "third"});
  CHECK(templates(installation) == std::vector<std::string>{"busybox"});
}

TEST_CASE("a template that is in use is not removed, and its users are named") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const auto config = [&](const char* name) {
    return installation.write_config(name, "command = [\"/bin/sleep\", \"1000\"]\n");
  };
  installation.holm_ok({"create", config("one")});
  Result result = installation.holm({"template", "remove", "busybox"});
  CHECK(result.status == 1);
  CHECK(result.errors ==
        "holm: cannot remove template 'busybox': in use by container 'one'\n  hint: holm destroy one\n");
  installation.holm_ok({"start", config("two")});
  result = installation.holm({"template", "remove", "busybox"});
  CHECK(result.errors ==
        "holm: cannot remove template 'busybox': in use by containers 'one', 'two'\n  hint: holm destroy one "
        "two\n");
  CHECK(inspect(installation, "busybox").at("used_by") == json({"one", "two"}));
  CHECK(installation.holm({"exec", "two", "true"}).status == 0);
  installation.holm_ok({"destroy", "--force", "one", "two"});
  installation.holm_ok({"template", "remove", "busybox"});
  CHECK(templates(installation).empty());
  CHECK(installation.holm_ok({"--json", "template", "list"}) == "[]\n");
}

TEST_CASE("a directory, an archive and a stream of one become templates with their owners and modes") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string root = make_root(installation);
  CHECK(::chmod((root + "/srv").c_str(), 02750) == 0);
  const std::string plain = make_archive(root, installation.directory() + "/root.tar", "-cf");
  const std::string gzip = make_archive(root, installation.directory() + "/root.tar.gz", "-czf");
  installation.holm_ok({"template", "import", "of-directory", root});
  installation.holm_ok({"template", "import", "of-archive", plain});
  installation.holm_ok({"template", "import", "of-gzip", gzip});
  CHECK(installation.holm({"template", "import", "of-stream", "-"}, {}, read_file(plain, 64 << 20)).status ==
        0);
  CHECK(inspect(installation, "of-stream").at("source") == "standard input");
  for (const char* name : {"of-directory", "of-archive", "of-gzip", "of-stream"}) {
    CAPTURE(name);
    CHECK(inspect(installation, name).at("kind") == "import");
    const std::string text =
        std::string("template = \"") + name + "\"\ncommand = [\"/bin/sleep\", \"1000\"]\n";
    installation.start("box", text);
    CHECK(installation.holm({"exec", "box", "cat", "/etc/motd"}).out == "of the template\n");
    CHECK(installation.holm({"exec", "box", "stat", "-c", "%u:%g %a", "/srv"}).out == "33:33 2750\n");
    CHECK(installation.holm({"exec", "box", "sh", "-c", "echo mine > /etc/motd"}).status == 0);
    installation.holm_ok({"destroy", "--force", "box"});
    // What a container writes never reaches its template.
    CHECK(read_file(installation.state_directory() + "/templates/" + name + "/root/etc/motd") ==
          "of the template\n");
  }
}

TEST_CASE("what is no root file system, or no name, is refused and leaves nothing") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string root = make_root(installation);
  const std::string archive = make_archive(root, installation.directory() + "/root.tar", "-cf");
  const std::string whole = read_file(archive, 64 << 20);
  const std::string cut = installation.directory() + "/cut.tar";
  replace_file(cut, whole.substr(0, whole.size() / 2));
  const std::string empty = installation.directory() + "/empty";
  sys::make_directory(empty, 0755);
  const auto refuses = [&](const std::vector<std::string>& words, int status, const std::string& part) {
    CAPTURE(join(words, " "));
    const Result result = installation.holm(words);
    CHECK(result.status == status);
    CHECK_MESSAGE(result.errors.find(part) != std::string::npos, result.errors);
    CHECK(templates(installation) == std::vector<std::string>{"busybox"});
  };
  refuses({"template", "import", "bad", "/etc/passwd"}, 1,
          "holm: cannot make template 'bad': import '/etc/passwd': not a tar archive");
  refuses({"template", "import", "bad", "/nonexistent"}, 1,
          "open '/nonexistent': No such file or directory (ENOENT)");
  refuses({"template", "import", "bad", cut}, 1, "cut off or damaged in entry");
  refuses({"template", "import", "bad", empty}, 1, "is not a root file system");
  refuses({"template", "import", "a b", root}, 2,
          "template name 'a b': not 1 to 63 letters, digits and hyphens");
  refuses({"template", "import", "../x", root}, 2, "template name '../x'");
  refuses({"template", "import", "busybox", root}, 1,
          "holm: cannot make template 'busybox': there is one of that name already\n"
          "  hint: holm template remove busybox\n");
  refuses({"template", "build", "busybox"}, 1, "there is one of that name already");
  refuses({"template", "build", "gentoo"}, 2,
          "holm: there is no way to build 'gentoo'\n  hint: there are: busybox, debian\n");
  refuses({"template", "build", "debian", "--suite", "nosuch", "--name", "x"}, 2,
          "holm: suite 'nosuch' is not known\n  hint: bookworm or trixie\n");
  refuses({"template", "inspect", "nosuch"}, 1,
          "missing template 'nosuch': there is none of that name; have: busybox");
  refuses({"template", "remove", "nosuch"}, 1, "cannot remove template 'nosuch': there is none of that name");
  refuses({"template"}, 2, "hint: 'holm template --help'");
}

TEST_CASE("an archive that a FIFO stands for does not hang") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string path = installation.directory() + "/fifo.tar";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  const auto start = std::chrono::steady_clock::now();
  const Result result = run_host(
      {"timeout", std::to_string(10 * patience()), holm_program(), "template", "import", "bad", path},
      installation.environment());
  CHECK(result.status != 124);
  CHECK(result.status != 0);
  CHECK(std::chrono::steady_clock::now() - start < 5s * patience());
}

TEST_CASE("a build, import or removal that is killed or fails at any step leaves nothing half-made") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string root = make_root(installation);
  const std::string archive = make_archive(root, installation.directory() + "/root.tar", "-cf");
  const std::string trace = installation.directory() + "/trace";
  struct Verb {
    std::vector<std::string> words;
    bool removes;
  };
  const Verb verbs[] = {{{"template", "build", "busybox", "--name", "new"}, false},
                        {{"template", "import", "new", archive}, false},
                        {{"template", "import", "new", root}, false},
                        {{"template", "remove", "new"}, true}};
  for (const Verb& verb : verbs) {
    const auto prepare = [&] {
      if (verb.removes) installation.holm_ok({"template", "build", "busybox", "--name", "new"});
    };
    prepare();
    replace_file(trace, "");
    installation.holm(verb.words, {{"HOLM_FAULT_TRACE", trace}});
    const auto steps = steps_of(trace);
    CHECK(steps.size() >= 2);
    installation.holm({"template", "remove", "new"});
    for (const std::string& step : part_of(steps)) {
      for (const char* action : {"kill:", "error:"}) {
        CAPTURE(join(verb.words, " "));
        CAPTURE(step);
        CAPTURE(action);
        prepare();
        const auto start = std::chrono::steady_clock::now();
        CHECK(installation.holm(verb.words, {{"HOLM_FAULT", action + step}}).status != 0);
        CHECK(std::chrono::steady_clock::now() - start < 5s * patience());
        CHECK(installation.holm({"template", "list"}).status == 0);
        // Whole or not there; and a container of the other one starts.
        if (sys::exists(installation.state_directory() + "/templates/new"))
          CHECK(inspect(installation, "new").at("files").get<int>() > 2);
        installation.holm({"template", "remove", "new"});
        installation.holm_ok({"gc"});
        CHECK_MESSAGE(templates(installation) == std::vector<std::string>{"busybox"},
                      join(templates(installation), " "));
        const Result again = installation.holm({"template", "import", "new", archive});
        CHECK_MESSAGE(again.status == 0, again.errors);
        installation.holm_ok({"template", "remove", "new"});
      }
    }
  }
}

TEST_CASE("an import that is interrupted by a person leaves nothing") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  const std::string big = installation.directory() + "/big";
  sys::make_directories(big + "/bin", 0755);
  const int files = 20'000 / patience();  // more than what is unpacked until the signal comes
  for (int i = 0; i < files; ++i) sys::open(big + "/bin/" + std::to_string(i), O_WRONLY | O_CREAT, 0755);
  const std::string archive = make_archive(big, installation.directory() + "/big.tar", "-cf");
  for (const int signal : {SIGINT, SIGTERM, SIGKILL}) {
    CAPTURE(signal);
    const pid_t import = installation.holm_background({"template", "import", "new", archive});
    std::this_thread::sleep_for(60ms);
    ::kill(import, signal);
    int status = 0;
    ::waitpid(import, &status, 0);
    CHECK(status != 0);
    std::this_thread::sleep_for(50ms);
    installation.holm_ok({"gc"});
    CHECK_MESSAGE(templates(installation) == std::vector<std::string>{"busybox"},
                  join(templates(installation), " "));
  }
}

TEST_CASE("a damaged template is shown as such, and harms no other") {
  HOLM_REQUIRES("root", have_root());
  const Installation installation;
  installation.holm_ok({"template", "build", "busybox", "--name", "broken"});
  const std::string path = installation.state_directory() + "/templates/broken/template.toml";
  for (const char* text : {"", "garbage", "format = 99\n"}) {
    CAPTURE(text);
    replace_file(path, text);
    const Result list = installation.holm({"template", "list"});
    CHECK(list.status == 0);
    CHECK(list.out.find("broken   damaged") != std::string::npos);
    const Result start = installation.holm(
        {"start", installation.write_config("box", "template = \"broken\"\ncommand = [\"/bin/true\"]\n")});
    CHECK(start.status == 1);
    CHECK_MESSAGE(start.errors.find("template 'broken' is damaged") != std::string::npos, start.errors);
    installation.start("good", "command = [\"/bin/sleep\", \"1000\"]\n");
    installation.holm_ok({"destroy", "--force", "good"});
  }
  installation.holm_ok({"template", "remove", "broken"});
}
