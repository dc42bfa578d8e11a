// What a user reads when something is wrong: the text, the exit status, and that nothing is left.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/support/holm_runner.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;

namespace {

constexpr const char* kSleeper = "command = [\"/bin/sleep\", \"1000\"]\n";

// A state directory must be on a file system whose ids can be mapped; Linux 6.3 made tmpfs one.
bool can_map_ids_of_tmpfs() { return have_kernel(6, 3); }

// A small file system on a directory, so that it can be full; gone again at the end.
class SmallDisk {
 public:
  enum class For { state, run };
  SmallDisk(const std::string& path, For purpose) : path_(path) {
    sys::make_directories(path_, 0700);
    const char* size = purpose == For::state ? "size=8m" : "size=256k,nr_inodes=200";
    if (purpose == For::run || can_map_ids_of_tmpfs()) {
      REQUIRE(::mount("tmpfs", path_.c_str(), "tmpfs", 0, size) == 0);
      return;
    }
    const std::string image = path_ + ".image";
    const Result made =
        run_host({"sh", "-c",
                  "truncate -s 12M $0 && mkfs.ext4 -q -O ^has_journal $0 && mount -o loop $0 $1 && "
                  "chmod 700 $1",
                  image, path_});
    REQUIRE_MESSAGE(made.status == 0, made.errors);
  }
  ~SmallDisk() { ::umount2(path_.c_str(), MNT_DETACH); }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  void fill() const {
    const UniqueFd fd = sys::open(path_ + "/.filler", O_WRONLY | O_CREAT, 0600);
    const std::string block(4096, 'f');
    while (::write(fd.get(), block.data(), block.size()) > 0) {
    }
  }
  void free() const { sys::remove_file(path_ + "/.filler"); }

 private:
  std::string path_;
};

// Holm refuses, with exactly this on standard error; nothing of the installation stands afterwards.
void refuses(const Installation& installation, const std::vector<std::string>& words, int status,
             const std::string& text) {
  CAPTURE(join(words, " "));
  const auto before = installation.leftovers();
  const Result result = installation.holm(words);
  CHECK(result.status == status);
  CHECK(result.errors == text);
  CHECK(result.out.empty());
  CHECK(join(installation.leftovers(), ", ") == join(before, ", "));
}

void refuses_config(const Installation& installation, const std::string& text, const std::string& message) {
  const std::string path = installation.write_config("bad", text);
  const auto placed = [&](std::string expected) {
    for (size_t at; (at = expected.find("FILE")) != std::string::npos;) expected.replace(at, 4, path);
    return expected;
  };
  for (const char* verb : {"start", "create", "run"}) refuses(installation, {verb, path}, 2, placed(message));
  refuses(installation, {"config", "check", path}, 2, placed(message));
}

}  // namespace

TEST_CASE("a config that is wrong is refused with its place and what is allowed, and nothing is made") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  refuses_config(installation, "template = \"busybox\"\ncomand = [\"/bin/true\"]\n",
                 "holm: config: unknown key 'comand'\n"
                 "  at:   FILE:2:1\n"
                 "  hint: did you mean 'command'?\n");
  refuses_config(installation, "template = \"busybox\"\n[memory]\nlimt = \"64M\"\n",
                 "holm: config: unknown key 'memory.limt'\n"
                 "  at:   FILE:3:1\n"
                 "  hint: did you mean 'memory.limit'?\n");
  refuses_config(installation, "template = \"busybox\"\nautostart = \"yes\"\n",
                 "holm: config: 'autostart' must be true or false, not a string\n"
                 "  at:   FILE:2:13\n");
  refuses_config(installation, "template = \"busybox\"\n[cpu]\nweight = 70000\n",
                 "holm: config: 'cpu.weight' must be a whole number from 1 to 65536, not 70000\n"
                 "  at:   FILE:3:10\n");
  refuses_config(installation, "template = \"busybox\"\n[memory]\nlimit = \"64M\"\nbarrier = \"128M\"\n",
                 "holm: config: 'memory.barrier' (128 MiB) is above 'memory.limit' (64 MiB)\n"
                 "  at:   FILE:4:11\n");
  refuses_config(installation, "template = \"busybox\"\nroot = \"/srv\"\n",
                 "holm: config: 'template' and 'root' contradict each other\n"
                 "  at:   FILE:2:8\n"
                 "  hint: a container has one root file system; remove one\n");
  refuses_config(installation, "template = \"busybox\"\nimage = \"disk.img\"\n",
                 "holm: config: 'image' is not available in this version\n"
                 "  at:   FILE:2:1\n");
}

TEST_CASE("an error as JSON has the same facts") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string path = installation.write_config("bad", "template = \"busybox\"\ncomand = []\n");
  const Result result = installation.holm({"--json", "start", path});
  CHECK(result.status == 2);
  const auto error = nlohmann::json::parse(result.errors);
  CHECK(error.at("error") == "config: unknown key 'comand'");
  CHECK(error.at("at") == nlohmann::json({path + ":2:1"}));
  CHECK(error.at("hints") == nlohmann::json({"did you mean 'command'?"}));
  CHECK(error.at("exit_status") == 2);
}

TEST_CASE("a config file that is no file is refused, and a FIFO does not hang") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string path = installation.directory() + "/odd.toml";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  refuses(installation, {"start", path}, 2,
          "holm: config file '" + path + "': is a FIFO, not a regular file\n");
  sys::remove_file(path);
  sys::make_directory(path, 0700);
  refuses(installation, {"start", path}, 2,
          "holm: config file '" + path + "': is a directory, not a regular file\n");
  sys::remove_directory(path);
  refuses(installation, {"start", path}, 2,
          "holm: config file '" + path +
              "': not found\n  hint: check the path; 'holm config show --defaults' prints a complete file to "
              "begin with\n");
  replace_file(path, std::string(2 << 20, '#'));
  refuses(installation, {"start", path}, 2, "holm: config file '" + path + "': larger than 1 MiB\n");
}

TEST_CASE("the host's settings are checked as a config is") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  replace_file(installation.host_config(), "[network]\nsubnt = \"10.1.1.0/24\"\n");
  const Result result = installation.holm({"list"});
  CHECK(result.status == 2);
  CHECK(result.errors == "holm: host settings: unknown key 'network.subnt'\n  at:   " +
                             installation.host_config() + ":2:1\n  hint: did you mean 'network.subnet'?\n");
  sys::remove_file(installation.host_config());
  REQUIRE(::mkfifo(installation.host_config().c_str(), 0600) == 0);
  CHECK(installation.holm({"list"}).errors ==
        "holm: host settings '" + installation.host_config() + "': is a FIFO, not a regular file\n");
  sys::remove_file(installation.host_config());
}

TEST_CASE("a missing template is told with those that are there") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string path = installation.write_config("web", "template = \"busybx\"\n");
  for (const char* verb : {"start", "create"})
    refuses(
        installation, {verb, path}, 1,
        "holm: cannot create container 'web': missing template 'busybx': there is none of that name; have: "
        "busybox\n"
        "  at:   step 'check the root file system'\n"
        "  hint: holm template build busybox\n");
}

TEST_CASE("a directory that is no root file system is refused before anything is made") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string root = installation.directory() + "/data";
  sys::make_directory(root, 0755);
  refuses(installation, {"start", installation.write_config("web", "root = \"" + root + "\"\n")}, 1,
          "holm: cannot create container 'web': '" + root +
              "' is not a root file system: no /bin, /sbin, /usr/bin or /usr/sbin in it\n"
              "  at:   step 'check the root file system'\n"
              "  hint: it is empty\n");
  refuses(installation, {"start", installation.write_config("web", "root = \"" + root + "/none\"\n")}, 1,
          "holm: cannot create container 'web': open '" + root +
              "/none': No such file or directory (ENOENT)\n"
              "  at:   step 'check the root file system'\n"
              "  hint: 'root' must be a directory that holds a root file system\n");
}

TEST_CASE("a name in use, a container that runs already or does not run") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const std::string path = installation.write_config("web", kSleeper);
  installation.holm_ok({"create", path});
  refuses(installation, {"create", path}, 1,
          "holm: cannot create container 'web': there is a container 'web' already\n"
          "  hint: choose another name, or destroy it first\n");
  for (const char* verb : {"kill", "pause", "resume", "ps"})
    refuses(installation, {verb, "web"}, 1,
            "holm: container 'web' is not running\n  hint: 'holm start web' starts it\n");
  for (const char* verb : {"stop", "reboot"})
    refuses(installation, {verb, "web"}, 1,
            "holm: container 'web' is not running\n  hint: 'holm list -a' shows all containers\n");
  refuses(installation, {"exec", "web", "true"}, 125,
          "holm: container 'web' is not running\n  hint: 'holm start web' starts it\n");
  refuses(installation, {"console", "web"}, 1,
          "holm: container 'web' is not running\n  hint: 'holm log web' shows what it said\n");
  installation.holm_ok({"start", "web"});
  refuses(installation, {"start", "web"}, 1, "holm: cannot start container 'web': it is running already\n");
  refuses(installation, {"start", path}, 1, "holm: cannot start container 'web': it is running already\n");
  refuses(installation, {"run", "web"}, 125, "holm: cannot start container 'web': it is running already\n");
  refuses(installation, {"run", "--rm", "web"}, 125,
          "holm: cannot start container 'web': it is running already\n");
  refuses(installation, {"destroy", "web"}, 1,
          "holm: cannot destroy container 'web': it is running\n  hint: stop it first, or use --force\n");
  CHECK(installation.column("web", "state") == "running");
  for (const char* verb : {"start", "stop", "kill", "pause", "resume", "reboot", "destroy", "inspect", "log",
                           "ps", "wait", "console"})
    refuses(installation, {verb, "wep"}, 1,
            "holm: there is no container 'wep'\n  hint: did you mean 'web'?\n");
}

TEST_CASE("what is no name is refused everywhere, and reaches no path") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  for (const char* name : {"..", ".", "a b", "-", "a_b", "", "\x1b[31m"}) {
    CAPTURE(name);
    for (const char* verb : {"destroy", "stop", "inspect", "log"}) {
      const Result result = installation.holm({verb, "--", name});
      CHECK(result.status != 0);
      CHECK(result.errors.find('\x1b') == std::string::npos);
    }
    CHECK(installation.holm({"destroy", name}).status != 0);
  }
  CHECK(installation.leftovers().empty());
}

TEST_CASE("a payload that cannot be executed is told with its exit status, and nothing of the run is left") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  struct Case {
    const char* text;
    int status;
    const char* message;
  };
  const Case cases[] = {
      {"command = [\"/bin/nosuch\"]\n", 127,
       "holm: cannot start container 'web': execute '/bin/nosuch': No such file or directory (ENOENT)\n"
       "  at:   inside the container, step 'execute'\n"},
      {"command = [\"nosuch\"]\n", 127,
       "holm: cannot start container 'web': execute 'nosuch': there is no such program in the container's "
       "PATH\n"
       "  at:   inside the container, step 'execute'\n"},
      {"command = [\"/etc/passwd\"]\n", 126,
       "holm: cannot start container 'web': execute '/etc/passwd': Permission denied (EACCES)\n"
       "  at:   inside the container, step 'execute'\n"
       "  hint: it is no executable file, or lies on a file system mounted noexec\n"},
      {"user = \"nosuch\"\ncommand = [\"/bin/true\"]\n", 1,
       "holm: cannot start container 'web': no user 'nosuch' inside the container\n"
       "  at:   inside the container, step 'find user'\n"
       "  hint: its /etc/passwd does not list it; a number works without\n"},
      {"workdir = \"/nosuch\"\ncommand = [\"/bin/true\"]\n", 1,
       "holm: cannot start container 'web': enter working directory '/nosuch': No such file or directory "
       "(ENOENT)\n"
       "  at:   inside the container, step 'execute'\n"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const std::string path = installation.write_config("web", c.text);
    const Result result = installation.holm({"start", path});
    CHECK(result.status == c.status);
    CHECK(result.errors == c.message);
    CHECK(installation.column("web", "state") == "stopped");
    CHECK(installation.column("web", "reason").starts_with("did not start: "));
    installation.holm_ok({"destroy", "web"});
    CHECK(installation.holm({"run", "--rm", path}).status == (c.status == 1 ? 125 : c.status));
    CHECK(list_directory(installation.run_directory()).empty());
    CHECK(list_directory(installation.state_directory() + "/containers").empty());
    CHECK(list_directory(installation.state_directory() + "/numbers").empty());
  }
  const std::string path = installation.write_config("web", kSleeper);
  installation.holm_ok({"start", path});
  const auto exec_fails = [&](std::vector<std::string> words, int status, const std::string& message) {
    words.insert(words.begin(), "exec");
    const Result result = installation.holm(words);
    CHECK(result.status == status);
    CHECK(result.errors == message);
  };
  exec_fails({"web", "nosuch"}, 127,
             "holm: cannot execute in container 'web': execute 'nosuch': there is no such program in the "
             "container's PATH\n  at:   inside the container, step 'execute'\n");
  exec_fails({"web", "/etc/passwd"}, 126,
             "holm: cannot execute in container 'web': execute '/etc/passwd': Permission denied (EACCES)\n"
             "  at:   inside the container, step 'execute'\n"
             "  hint: it is no executable file, or lies on a file system mounted noexec\n");
  exec_fails({"-u", "nosuch", "web", "true"}, 125,
             "holm: cannot execute in container 'web': no user 'nosuch' inside the container\n"
             "  at:   inside the container, step 'find user'\n"
             "  hint: its /etc/passwd does not list it; a number works without\n");
  for (const char* user : {"4294967296", "-1", "65536", "0x0", "1:-1", "root:", ":0", " 0"}) {
    CAPTURE(user);
    CHECK(installation.holm({"exec", "-u", user, "web", "id"}).status != 0);
  }
}

TEST_CASE("without root Holm says so, and what needs no root works") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  // The program may lie where nobody else can reach it.
  const TemporaryDirectory reachable;
  ::chmod(reachable.path().c_str(), 0755);
  const std::string program = reachable.path() + "/holm";
  std::filesystem::copy_file(holm_program(), program);
  ::chmod(program.c_str(), 0755);
  const std::string config = reachable.path() + "/web.toml";
  replace_file(config, std::string("template = \"busybox\"\n") + kSleeper, 0644);
  const auto as_nobody = [&](std::vector<std::string> words) {
    std::vector<std::string> command = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                                        program};
    command.insert(command.end(), words.begin(), words.end());
    auto variables = installation.environment();
    variables["HOLM_HOST_CONFIG"] = "/nonexistent";
    return run_host(command, variables);
  };
  for (const auto& words :
       std::vector<std::vector<std::string>>{{"start", config},
                                             {"create", config},
                                             {"run", config},
                                             {"stop", "web"},
                                             {"destroy", "web"},
                                             {"list"},
                                             {"exec", "web", "true"},
                                             {"gc"},
                                             {"check"},
                                             {"log", "web"},
                                             {"rename", "a", "b"},
                                             {"template", "build", "busybox", "--name", "x"},
                                             {"template", "remove", "busybox"}}) {
    CAPTURE(join(words, " "));
    const Result result = as_nobody(words);
    CHECK(result.status == 1);
    CHECK(result.errors ==
          "holm: this needs root: containers are made of namespaces, cgroups and mounts of the host\n"
          "  hint: use sudo\n");
  }
  CHECK(as_nobody({"version"}).status == 0);
  CHECK(as_nobody({"--help"}).status == 0);
  CHECK(as_nobody({"config", "show", "--defaults"}).status == 0);
  CHECK(as_nobody({"config", "check", config}).status == 0);
}

TEST_CASE("a full disk is an error that names the file, and what is there already goes on") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const SmallDisk disk(installation.state_directory(), SmallDisk::For::state);
  installation.holm_ok({"template", "build", "busybox"});
  installation.start("before", kSleeper);
  const std::string standing = join(installation.leftovers(), ", ");
  const std::string path = installation.write_config("web", kSleeper);
  disk.fill();
  Result result = installation.holm({"start", path});
  CHECK(result.status == 1);
  CHECK_MESSAGE(result.errors.starts_with("holm: cannot create container 'web': "), result.errors);
  CHECK(result.errors.find("No space left on device (ENOSPC)\n  at:   step '") != std::string::npos);
  CHECK(join(installation.leftovers(), ", ") == standing);
  result = installation.holm({"template", "build", "busybox", "--name", "another"});
  CHECK(result.status == 1);
  CHECK(result.errors.find("No space left on device (ENOSPC)") != std::string::npos);
  CHECK(installation.holm({"template", "list"}).out.find("another") == std::string::npos);
  CHECK(installation.column("before", "state") == "running");
  CHECK(installation.holm({"exec", "before", "true"}).status == 0);
  // Everything that gives space back works on a full disk.
  installation.holm_ok({"stop", "-k", "before"});
  installation.holm_ok({"destroy", "before"});
  disk.free();
  installation.holm_ok({"start", path});
  CHECK(installation.column("web", "state") == "running");
  installation.holm_ok({"destroy", "--force", "web"});
  installation.holm_ok({"gc"});
  CHECK(join(installation.leftovers(), ", ") ==
        "a mount below " + installation.directory());  // the small disk
}

TEST_CASE("a container whose own disk is full starts and stops all the same") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const SmallDisk disk(installation.state_directory(), SmallDisk::For::state);
  installation.holm_ok({"template", "build", "busybox"});
  const std::string path = installation.write_config("web", kSleeper);
  installation.holm_ok({"start", path});
  installation.holm({"exec", "web", "sh", "-c", "cat /dev/zero > /root/big"});
  const Result result = installation.holm({"reboot", "web"});
  CHECK_MESSAGE(result.status == 0, result.errors);
  CHECK(installation.column("web", "state") == "running");
  CHECK(installation.holm({"exec", "web", "rm", "/root/big"}).status == 0);
  installation.holm_ok({"destroy", "--force", "web"});
}

TEST_CASE("a full run directory is an error, and running containers can still be stopped") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const SmallDisk disk(installation.run_directory(), SmallDisk::For::run);
  installation.start("before", kSleeper);
  installation.start("paused", kSleeper);
  installation.holm_ok({"pause", "paused"});
  disk.fill();
  const Result result = installation.holm({"start", installation.write_config("web", kSleeper)});
  CHECK(result.status == 1);
  CHECK_MESSAGE(result.errors.find("No space left on device (ENOSPC)") != std::string::npos, result.errors);
  CHECK(installation.holm({"exec", "before", "true"}).status == 0);
  CHECK(installation.column("before", "state") == "running");
  const Result stop = installation.holm({"stop", "-k", "before"});
  CHECK_MESSAGE(stop.status == 0, stop.errors);
  CHECK(installation.column("before", "state") == "stopped");
  installation.holm({"destroy", "--force", "web"});
  installation.holm_ok({"destroy", "before"});
  const Result destroy = installation.holm({"destroy", "--force", "paused"});
  CHECK_MESSAGE(destroy.status == 0, destroy.errors);
  disk.free();
  installation.holm_ok({"gc"});
  CHECK(join(installation.leftovers(), ", ") ==
        "a mount below " + installation.directory());  // the small disk
}

TEST_CASE("no free address: the message says how many there are") {
  HOLM_REQUIRES("root, nat", have_nat());
  Installation installation;
  replace_file(installation.host_config(), "[network]\nsubnet = \"10.213.77.0/29\"\n");
  const std::string nat = std::string(kSleeper) + "[[network]]\nmode = \"nat\"\n";
  for (const char* name : {"a", "b", "c", "d", "e"}) installation.start(name, nat);
  const Result result = installation.holm({"start", installation.write_config("f", nat)});
  CHECK(result.status == 1);
  CHECK(
      result.errors ==
      "holm: cannot start container 'f': take an address of '10.213.77.0/29' for 'f': all 5 are held\n"
      "  at:   step 'plan network'\n"
      "  hint: destroy containers that are not needed, or give the nat network a larger subnet in the host's "
      "settings\n");
  installation.holm_ok({"destroy", "--force", "c"});
  installation.holm_ok({"start", "f"});
  CHECK(installation.column("f", "address").starts_with("10.213.77.4 "));
}

TEST_CASE("no free id range: the message says how many there are") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  replace_file(installation.host_config(), "[ids]\ncount = 1\n");
  installation.holm_ok({"create", installation.write_config("a", kSleeper)});
  const std::string b = installation.write_config("b", kSleeper);
  refuses(installation, {"create", b}, 1,
          "holm: cannot create container 'b': no free id range: all 1 are in use\n"
          "  at:   step 'reserve a number'\n"
          "  hint: destroy containers, or raise ids.count in " +
              installation.host_config() + "\n");
  installation.holm_ok({"destroy", "a"});
  installation.holm_ok({"create", b});
}

TEST_CASE("one damaged container is shown as such, and harms no other") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("good", kSleeper);
  size_t number = 0;
  const auto damage = [&](const std::string& path, const std::string& content) {
    if (!is_in_part(number++)) return;
    CAPTURE(path);
    CAPTURE(content.substr(0, 40));
    installation.start("bad", kSleeper);
    installation.holm_ok({"stop", "-k", "bad"});
    replace_file(path, content);
    const Result list = installation.holm({"list", "-a"});
    CHECK(list.status == 0);
    CHECK(list.out.find("good  running") != std::string::npos);
    CHECK(list.out.find("\nbad ") != std::string::npos);
    CHECK(installation.holm({"--json", "list", "-a"}).status == 0);
    CHECK(installation.holm({"inspect", "bad"}).status <= 2);
    CHECK(installation.holm({"exec", "good", "true"}).status == 0);
    CHECK(installation.holm({"info"}).status == 0);
    installation.holm({"gc"});
    CHECK(installation.column("good", "state") == "running");
    const Result destroy = installation.holm({"destroy", "--force", "bad"});
    CHECK_MESSAGE(destroy.status == 0, destroy.errors);
    CHECK(installation.column("bad", "state").empty());
    installation.holm_ok({"gc"});
    CHECK(installation.column("good", "state") == "running");
  };
  const std::string state = installation.run_directory() + "/bad/state.json";
  const std::string container = installation.state_directory() + "/containers/bad/";
  for (const std::string& garbage : {std::string(), std::string("{"), std::string("\0\0\0\0", 4),
                                     std::string("{\"version\": 2}"), std::string(3 << 20, 'x')}) {
    damage(state, garbage);
    damage(container + "identity.json", garbage);
    damage(container + "config.toml", garbage);
  }
}

TEST_CASE("a state that cannot be read is named, with what to do") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kSleeper);
  const pid_t init = installation.pid_of("box");
  const std::string path = installation.run_directory() + "/box/state.json";
  const std::string good = read_file(path);
  std::string newer = good;
  newer.replace(newer.find("\"version\": 1"), 12, "\"version\": 2");
  replace_file(path, newer);
  CHECK(installation.column("box", "state") == "damaged");
  CHECK(installation.column("box", "reason") == "read '" + path + "': written by a newer version of Holm");
  // Nothing that a newer Holm may be running is touched, not even by gc.
  const Result gc = installation.holm({"gc"});
  CHECK(gc.status == 0);
  CHECK(installation.holm({"stop", "box"}).errors.find("written by a newer version of Holm") !=
        std::string::npos);
  const Result start = installation.holm({"start", "box"});
  CHECK(start.status == 1);
  CHECK_MESSAGE(start.errors.find("written by a newer version of Holm") != std::string::npos, start.errors);
  const Result rename = installation.holm({"rename", "box", "other"});
  CHECK(rename.status == 1);
  CHECK(installation.holm({"destroy", "box"}).status == 1);
  CHECK(sys::exists("/proc/" + std::to_string(init)));
  replace_file(path, good);
  CHECK(installation.column("box", "state") == "running");
  CHECK(installation.pid_of("box") == init);
  replace_file(path, newer);
  installation.holm_ok({"destroy", "--force", "box"});
  CHECK_FALSE(sys::exists("/proc/" + std::to_string(init)));
}

TEST_CASE("a damaged state of a stopped container is repaired by the next start") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kSleeper);
  installation.holm_ok({"stop", "-k", "box"});
  replace_file(installation.run_directory() + "/box/state.json", "garbage");
  CHECK(installation.column("box", "state") == "damaged");
  const Result start = installation.holm({"start", "box"});
  CHECK_MESSAGE(start.status == 0, start.errors);
  CHECK(installation.column("box", "state") == "running");
}

TEST_CASE("a damaged identity never lets two containers share ids") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", kSleeper);
  installation.holm_ok({"stop", "-k", "box"});
  const std::string path = installation.state_directory() + "/containers/box/identity.json";
  for (const char* identity :
       {"{\"version\":1,\"number\":1,\"first_id\":0,\"id_count\":65536}",
        "{\"version\":1,\"number\":4294967297,\"first_id\":4294967296,\"id_count\":65536}",
        "{\"version\":1,\"number\":1,\"first_id\":1048576,\"id_count\":4294967295}",
        "{\"version\":1,\"number\":-1,\"first_id\":-65536,\"id_count\":65536}",
        "{\"version\":1,\"number\":0,\"first_id\":1048576,\"id_count\":65536}"}) {
    CAPTURE(identity);
    replace_file(path, identity);
    const Result result = installation.holm({"start", "box"});
    CHECK(result.status == 1);
    CHECK_MESSAGE(result.errors.find("identity.json'") != std::string::npos, result.errors);
  }
}
