#include "runtime/vfork.h"

#include <doctest/doctest.h>
#include <fmt/core.h>
#include <linux/kcmp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "base/file.h"
#include "base/text.h"

using namespace holm;
using namespace holm::runtime;

namespace {

// A process with one child, both of which wait to be killed.
class Family {
 public:
  explicit Family(bool by_vfork) : parent_(::fork()) {
    if (parent_ == 0) {
      const pid_t child = by_vfork ? ::vfork() : ::fork();
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (child >= 0)
        for (;;) ::pause();
      ::_exit(1);
    }
    const std::string children = fmt::format("/proc/{0}/task/{0}/children", parent_);
    for (int look = 0; look < 1000 && child_ == 0; ++look) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      child_ = static_cast<pid_t>(parse_unsigned(trim(read_file(children))).value_or(0));
    }
    REQUIRE(child_ != 0);
  }
  ~Family() {
    if (child_ != 0) ::kill(child_, SIGKILL);
    ::kill(parent_, SIGKILL);
    ::waitpid(parent_, nullptr, 0);
  }
  pid_t parent() const { return parent_; }
  pid_t child() const { return child_; }

 private:
  pid_t parent_;
  pid_t child_ = 0;
};

bool can_compare() { return ::syscall(SYS_kcmp, ::getpid(), ::getpid(), KCMP_VM, 0, 0) == 0; }

}  // namespace

TEST_CASE("a process that waits in vfork is found with its child") {
  if (!can_compare()) {
    MESSAGE("skipped: needs kcmp(2)");
    return;
  }
  const Family family(true);
  const auto vfork = find_vfork({::getpid(), family.parent(), family.child()});
  REQUIRE(vfork);
  CHECK(vfork->parent == family.parent());
  CHECK(vfork->child == family.child());
  CHECK_FALSE(find_vfork({family.child()}));
  CHECK_FALSE(find_vfork({family.parent()}));
}

TEST_CASE("a child with memory of its own is none") {
  const Family family(false);
  CHECK_FALSE(find_vfork({family.parent(), family.child(), ::getpid()}));
  CHECK_FALSE(find_vfork({}));
}
