// Drives the `holm` program as a user would, in an installation of the test's own.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/support/temporary_directory.h"

namespace holm::test {

struct Result {
  int status = 0;  // 128 + signal where a signal ended it
  std::string out;
  std::string errors;
};

// Runs any program of the host; standard input is /dev/null unless `input` says otherwise.
Result run_host(const std::vector<std::string>& command,
                const std::map<std::string, std::string>& environment = {}, const std::string& input = "");

// Waits for a child to end; its exit status, or 128 + the signal that ended it.
int wait_status(pid_t pid);

// Waits until `holds` answers true; false when `limit` (slow_host.h) is over first. Looks every 10 ms, or
// less often where looking itself takes long.
bool eventually(const std::function<bool()>& holds,
                std::chrono::milliseconds limit = std::chrono::seconds(10));

// A mount on the host until the end of the scope: mount(8) with `options` and then `target`, which it makes.
class HostMount {
 public:
  HostMount(std::vector<std::string> options, const std::string& target);
  ~HostMount();
  HostMount(const HostMount&) = delete;
  HostMount& operator=(const HostMount&) = delete;

 private:
  std::string target_;
};

// A state and a run directory below /tmp with the busybox template in it. At its end all containers are
// destroyed, and a CHECK fails for each mount, cgroup, link, table, process or directory of this installation
// that is left.
class Installation {
 public:
  Installation();
  ~Installation();
  Installation(const Installation&) = delete;
  Installation& operator=(const Installation&) = delete;

  // `holm WORDS...`
  Result holm(const std::vector<std::string>& words,
              const std::map<std::string, std::string>& extra_environment = {},
              const std::string& input = "") const;
  // As above; a CHECK fails unless it exits with 0. Its standard output.
  std::string holm_ok(const std::vector<std::string>& words) const;
  // Starts it in the background; the pid. The caller waits for it.
  pid_t holm_background(const std::vector<std::string>& words,
                        const std::map<std::string, std::string>& extra_environment = {}) const;

  // Writes NAME.toml with `text` (a template line for busybox is added unless it names a root) and returns
  // its path.
  std::string write_config(const std::string& name, const std::string& text) const;
  // write_config and `holm start`; a CHECK fails unless it starts. Mode none unless the text has a
  // [[network]].
  void start(const std::string& name, const std::string& text) const;
  // One column of `holm list -a` for a container: state, pid, address, reason, ...
  std::string column(const std::string& name, const std::string& column) const;
  pid_t pid_of(const std::string& name) const;
  pid_t monitor_of(const std::string& name) const;  // 0 where it has none

  // The directories below which the containers' cgroups stand, one per hierarchy.
  std::vector<std::string> cgroup_parents() const;
  // What of this installation stands in the kernel or below /run; empty where nothing does.
  std::vector<std::string> leftovers() const;

  const std::string& directory() const { return directory_.path(); }
  std::string state_directory() const { return directory() + "/state"; }
  std::string run_directory() const { return directory() + "/run"; }
  std::string host_config() const { return directory() + "/holm.toml"; }
  // The four hexadecimal digits in the names of this installation's kernel objects.
  std::string mark() const;
  std::map<std::string, std::string> environment() const;

 private:
  TemporaryDirectory directory_;
};

// The path of the program under test: HOLM_PROGRAM, which CTest sets.
std::string holm_program();

// --- what a test needs of its host; prints "skipped: needs ..." and leaves the test case
bool have_root();
bool have_cgroup_v2();  // the controllers are on v2
bool have_nat();        // bridge, veth and nftables work
bool have_sys_resource();
bool have_kernel(unsigned major, unsigned minor);  // this one or a newer
#define HOLM_REQUIRES(what, answer)    \
  do {                                 \
    if (!(answer)) {                   \
      MESSAGE("skipped: needs " what); \
      return;                          \
    }                                  \
  } while (false)

}  // namespace holm::test
