// Roots that were made, or changed while they run, to lead Holm astray: nothing of the host is touched, and
// nothing waits for ever.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/support/inside.h"
#include "tests/support/slow_host.h"

using namespace holm;
using namespace holm::test;

namespace {

constexpr const char* kIdle = "command = [\"/bin/sleep\", \"1000\"]\n";
const double kAtMost = 5 * patience();  // seconds

// A directory of the host with what a link in a root could lead to.
class Bait {
 public:
  explicit Bait(const std::string& directory) : directory_(directory + "/bait") {
    run_host(
        {"mkdir", "-p", directory_ + "/dir/sys/fs/cgroup", directory_ + "/dir/fs", directory_ + "/dir/self"});
    replace_file(directory_ + "/file", "root:x:0:0:bait:/:/bin/sh\n", 0644);
    for (const char* name : {"null", "console", "passwd", "group", "hostname", "resolv.conf", "hosts"})
      replace_file(directory_ + "/dir/" + name, "bait\n", 0644);
    before_ = facts();
  }

  std::string target(const std::string& path) const {
    const bool is_directory = path == "dev" || path == "etc" || path == "proc" || path == "sys" ||
                              path == "dev/pts" || path == "dev/shm";
    return directory_ + (is_directory ? "/dir" : "/file");
  }
  bool is_untouched() const { return facts() == before_; }

 private:
  std::string facts() const {
    return run_host({"find", directory_, "-printf", "%p %y %m %U:%G %s %T@ %C@\n"}).out +
           run_host({"grep", "-r", "", directory_}).out;
  }

  std::string directory_, before_;
};

enum class Trap { absolute_link, relative_link, dangling_link, fifo, directory, file, missing };
constexpr Trap kTraps[] = {Trap::absolute_link, Trap::relative_link, Trap::dangling_link, Trap::fifo,
                           Trap::directory,     Trap::file,          Trap::missing};
constexpr const char* kTrapNames[] = {"absolute link", "relative link", "dangling link", "fifo",
                                      "directory",     "file",          "missing"};

void link_to(const std::string& target, const std::string& place) {
  CHECK(::symlink(target.c_str(), place.c_str()) == 0);
}

void lay(const std::string& root, const std::string& path, Trap trap, const Bait& bait) {
  const std::string place = root + "/" + path;
  sys::remove_tree(place);
  switch (trap) {
    case Trap::absolute_link:
      link_to(bait.target(path), place);
      break;
    case Trap::relative_link:
      link_to(("../../../../../../../.." + bait.target(path)), place);
      break;
    case Trap::dangling_link:
      link_to((bait.target(path) + "-new"), place);
      break;
    case Trap::fifo:
      ::mkfifo(place.c_str(), 0666);
      break;
    case Trap::directory:
      ::mkdir(place.c_str(), 0755);
      break;
    case Trap::file:
      replace_file(place, "file\n", 0644);
      break;
    case Trap::missing:
      break;
  }
}

double seconds_of_rm(const std::string& tree) {
  run_host({"sh", "-c",
            "mkdir " + tree + " && cd " + tree + " && " + built_program("container_probe") + " deep 1200"});
  const auto begin = std::chrono::steady_clock::now();
  run_host({"rm", "-rf", tree});
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::string copy_of_template(const Installation& installation) {
  const std::string root = installation.directory() + "/root";
  const Result copied =
      run_host({"cp", "-a", installation.state_directory() + "/templates/busybox/root", root});
  CHECK(copied.status == 0);
  return root;
}

}  // namespace

TEST_CASE("a root with traps where Holm mounts and writes starts safely or is refused, and never waits") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const Bait bait(installation.directory());
  const std::string original = copy_of_template(installation), root = installation.directory() + "/trap";
  const std::string config = installation.write_config(
      "box", "root = \"" + root +
                 "\"\ncommand = [\"/bin/sh\", \"-c\", \"cat /etc/hostname /etc/passwd; echo ran\"]\n");
  run_host({"cp", "-a", original, root});
  const std::string renew =
      fmt::format("cd {} && rm -rf dev proc sys etc && cp -a {}/dev {}/proc {}/sys {}/etc .", root, original,
                  original, original, original);
  size_t number = 0;
  int started = 0, refused = 0;
  for (const std::string path :
       {"dev", "dev/console", "dev/null", "dev/pts", "dev/shm", "proc", "sys", "etc", "etc/passwd",
        "etc/group", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/hostname.holm-new"}) {
    for (const Trap trap : kTraps) {
      if (!is_in_part(number++)) continue;
      CAPTURE(path);
      CAPTURE(std::string(kTrapNames[static_cast<int>(trap)]));
      run_host({"sh", "-c", renew});
      lay(root, path, trap, bait);
      const TimedResult result = holm_timed(installation, {"run", "--rm", config});
      CAPTURE(result.out);
      CAPTURE(result.errors);
      CHECK(result.seconds < kAtMost);
      CHECK(bait.is_untouched());
      CHECK(result.out.find("bait") == std::string::npos);
      if (result.status == 125) {
        ++refused;
        CHECK(result.errors.starts_with("holm: cannot start container 'box': "));
        CHECK(result.errors.find(path.substr(path.find('/') + 1)) !=
              std::string::npos);  // it names the place
      } else {
        ++started;
        CHECK(result.status == 0);
        CHECK(result.out.ends_with("ran\n"));
      }
    }
  }
  CHECK(started >= part_of(50));
  CHECK(refused > part_of(88) / 8 - 1);  // few of a part are
  CHECK(installation.holm_ok({"list", "-a", "-H"}) == "");
}

TEST_CASE("what a container puts in the place of names that Holm uses does not keep others from it") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const Bait bait(installation.directory());
  struct Attack {
    const char* what;
    std::string script;
    bool may_refuse_exec;
  };
  const Attack attacks[] = {
      {"passwd is a FIFO", "rm /etc/passwd; mkfifo /etc/passwd", true},
      {"passwd is a link to a FIFO", "mkfifo /fifo; ln -sf /fifo /etc/passwd", true},
      {"passwd is a device", "ln -sf /dev/zero /etc/passwd", true},
      {"passwd is a link to the host", "ln -sf ../../../../../../etc/shadow /etc/passwd", true},
      {"passwd is huge", "head -c 3000000 /dev/zero > /etc/passwd", true},
      {"passwd is leased", "/probe lease /etc/passwd > /leased & while [ ! -s /leased ]; do :; done", true},
      {"passwd gives root another number", "echo root:x:4294967296:0::/:/bin/sh > /etc/passwd", true},
      {"group is a FIFO", "rm /etc/group; mkfifo /etc/group", true},
      {"etc is a link", "mv /etc /old; ln -s /proc/self/fd /etc", true},
      {"null is a FIFO", "umount /dev/null; rm /dev/null; mkfifo /dev/null", false},
      {"pts is gone", "umount -l /dev/pts", false},
      {"pts is a directory with a FIFO", "umount -l /dev/pts; mkfifo /dev/pts/ptmx", false},
      {"pts is a directory with null", "umount -l /dev/pts; ln -s ../null /dev/pts/ptmx", false},
      {"dev is gone", "umount -l /dev", false},
      {"proc is gone", "umount -l /proc", false},
      {"proc is a tmpfs",
       "umount -l /proc; mount -t tmpfs x /proc; mkdir -p /proc/self/fd; mkfifo /proc/self/status", false},
      {"the shell is a FIFO", "rm /bin/sh; mkfifo /bin/sh", true},
      {"the root is covered", "mount -t tmpfs x /tmp; cd /tmp; mkdir old; mkdir bin; pivot_root . old", true},
  };
  size_t number = 0;
  for (const Attack& attack : attacks) {
    if (!is_in_part(number++)) continue;
    CAPTURE(std::string(attack.what));
    installation.start("box", std::string(kIdle) + with_probe());
    installation.holm({"exec", "box", "/bin/sh", "-c", attack.script});
    const TimedResult exec = holm_timed(installation, {"exec", "box", "/bin/true"});
    const TimedResult terminal = holm_timed(installation, {"exec", "-t", "box", "/bin/true"});
    const TimedResult shell = holm_timed(installation, {"shell", "box"});
    const TimedResult processes = holm_timed(installation, {"ps", "box"});
    const TimedResult stop = holm_timed(installation, {"stop", "box"});
    const TimedResult destroy = holm_timed(installation, {"destroy", "box"});
    for (const TimedResult* result : {&exec, &terminal, &shell, &processes, &stop, &destroy}) {
      CAPTURE(result->errors);
      CHECK(result->seconds < kAtMost);
      CHECK((result->status == 0 || result->errors.starts_with("holm: ")));
    }
    if (!attack.may_refuse_exec) CHECK(exec.status == 0);
    CHECK(processes.status == 0);
    CHECK_MESSAGE(stop.status == 0, stop.errors);
    CHECK_MESSAGE(destroy.status == 0, destroy.errors);
  }
  CHECK(bait.is_untouched());
}

TEST_CASE("a container that kills whatever enters it cannot hold up who looks after it") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", std::string(kIdle) + with_probe());
  for (const std::string signal : {"9", "19"}) {
    CAPTURE(signal);
    const pid_t attacker = installation.holm_background({"exec", "box", "/probe", "signal-all", signal, "2"});
    ::usleep(100'000);
    for (int i = 0; i < 5; ++i) {
      // A stopped program stays what it is, for who waits for it; the time-out of holm_timed ends it then.
      const Result result =
          run_host({"timeout", "--signal=KILL", "1", holm_program(), "exec", "box", "/bin/true"},
                   installation.environment());
      const bool is_expected =
          result.status == 0 || result.status == 137 || result.errors.starts_with("holm: ");
      CHECK_MESSAGE(is_expected, result.status, result.errors);
    }
    CHECK(holm_timed(installation, {"list"}).seconds < kAtMost);
    CHECK(holm_timed(installation, {"ps", "box"}).status == 0);
    if (signal == "9") ::waitpid(attacker, nullptr, 0);
    if (signal == "19") {
      const TimedResult stop = holm_timed(installation, {"stop", "--timeout", "1", "box"}, "30");
      CHECK(stop.status == 0);
      CHECK(stop.seconds < 1 + 2 * patience());
      ::waitpid(attacker, nullptr, 0);
    }
  }
}

TEST_CASE(
    "directories deeper than any path and files that look protected do not keep a container from being "
    "destroyed") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  installation.start("box", std::string(kIdle) + with_probe());
  CHECK(inside(installation, "box", "cd /tmp && /probe deep 1200").out == "");
  const std::string script =
      "cd /root; mkdir locked; echo x > locked/file; chmod 000 locked/file locked; mkdir -- -rf '*' ' ' "
      "\"$(printf 'a\\nb')\"; "
      "mkfifo fifo; ln -s / root; ln -s /proc/self/exe exe; "
      "chattr +i locked 2>/dev/null; i=0; while [ $i -lt 100 ]; do mkdir -p w/$i/x/y; ln -s ../../.. "
      "w/$i/up; i=$((i+1)); done";
  inside(installation, "box", script);
  installation.holm_ok({"stop", "box"});
  // It also starts again with all that in its upper directory.
  installation.holm_ok({"start", "box"});
  installation.holm_ok({"stop", "box"});
  const TimedResult destroy = holm_timed(installation, {"destroy", "box"}, "60");
  CAPTURE(destroy.errors);
  CHECK(destroy.status == 0);
  // Where the host's file system itself is slow (one that discards each block at once), as fast as its rm.
  if (destroy.seconds >= kAtMost)
    CHECK(destroy.seconds < 1.5 * seconds_of_rm(installation.directory() + "/host-tree") + 1);
  CHECK(!sys::exists(installation.state_directory() + "/containers/box"));
  CHECK(list_directory(installation.state_directory() + "/containers").empty());
  CHECK(sys::exists("/proc/self/exe"));
}

TEST_CASE("a directory that is mounted into a container cannot be led elsewhere by links at its target") {
  HOLM_REQUIRES("root", have_root());
  Installation installation;
  const Bait bait(installation.directory());
  const std::string source = installation.directory() + "/data", root = copy_of_template(installation);
  sys::make_directory(source, 0755);
  replace_file(source + "/here", "data\n", 0644);
  for (const std::string target : {"/srv/data", "/srv/deep/data", "/link/data"}) {
    CAPTURE(target);
    for (const Trap trap : {Trap::absolute_link, Trap::relative_link, Trap::fifo, Trap::file}) {
      const std::string place = target.substr(1, target.find('/', 1) - 1);
      lay(root, place, trap, bait);
      const std::string config = installation.write_config(
          "box", "root = \"" + root + "\"\ncommand = [\"/bin/ls\", \"/\"]\n[[mount]]\nsource = \"" + source +
                     "\"\ntarget = \"" + target + "\"\n");
      const TimedResult result = holm_timed(installation, {"run", "--rm", config});
      CAPTURE(result.errors);
      CHECK(result.seconds < kAtMost);
      CHECK(result.status == 125);
      CHECK(bait.is_untouched());
    }
  }
}
