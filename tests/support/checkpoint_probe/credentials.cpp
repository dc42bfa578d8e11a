// Who a process is, what it may, and what its own filter refuses.
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <vector>

#include "object.h"
#include "partner.h"
#include "service_thread.h"

namespace probe {
namespace {

// A child that loses something for good: it remembers the fields of /proc/self/status at its begin.
class ChangedChild : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    child_ = std::make_unique<Partner>(Inherits::descriptors, [this, round](int request) {
      if (request == kBegin) {
        become(round);
        for (const char* field : kFields) seen_.push_back(status_field("self", field));
        secure_bits_ = ::prctl(PR_GET_SECUREBITS);
        return;
      }
      for (size_t i = 0; i < std::size(kFields); ++i)
        expect_equal(kFields[i], status_field("self", kFields[i]), seen_[i]);
      expect_equal("securebits", ::prctl(PR_GET_SECUREBITS), secure_bits_);
      check(round);
    });
    child_->ask(kBegin);
    child_->ask(kVerify);
  }
  void verify(int) override { child_->ask(kVerify); }

 protected:
  virtual void become(int round) = 0;
  virtual void check(int round) = 0;

 private:
  enum Request { kBegin, kVerify };
  static constexpr const char* kFields[] = {"Uid",    "Gid",    "Groups", "CapInh",     "CapPrm",
                                            "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp_filters"};
  std::vector<std::string> seen_;
  int secure_bits_ = 0;
  std::unique_ptr<Partner> child_;
};

class User : public ChangedChild {
 private:
  void become(int round) override {
    const auto id = static_cast<gid_t>(1000 + round);
    const gid_t groups[] = {5, id + 1, id + 2};
    must(::setgroups(std::size(groups), groups), "setgroups");
    must(::setresgid(id, id, id), "setresgid");
    must(::setresuid(id, id, id), "setresuid");
  }
  void check(int) override {
    expect(::setuid(0) != 0, "it can become root again");
    expect_equal("capabilities", status_field("self", "CapEff"), "0000000000000000");
  }
};

// Real, effective and saved ids that differ; it can go back.
class SavedUser : public ChangedChild {
 private:
  void become(int round) override {
    const auto id = static_cast<uid_t>(2000 + round);
    must(::setresgid(id, id + 1, 0), "setresgid");
    must(::setresuid(id, id + 1, 0), "setresuid");
  }
  void check(int round) override {
    const auto id = static_cast<uid_t>(2000 + round);
    must(::setresuid(static_cast<uid_t>(-1), 0, static_cast<uid_t>(-1)), "become root again");
    must(::setresuid(static_cast<uid_t>(-1), id + 1, static_cast<uid_t>(-1)), "setresuid");
  }
};

class Capabilities : public ChangedChild {
 private:
  static constexpr unsigned kKept[] = {CAP_CHOWN, CAP_NET_BIND_SERVICE, CAP_SETUID, CAP_SETPCAP};

  void become(int round) override {
    must(::prctl(PR_CAPBSET_DROP, round % 2 == 0 ? CAP_SYS_CHROOT : CAP_KILL), "drop from the bounding set");
    must(::prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP), "set securebits");
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[2] = {};
    for (const unsigned capability : kKept) sets[0].permitted |= 1U << capability;
    sets[0].effective = sets[0].permitted & ~(1U << CAP_SETUID);
    sets[0].inheritable = 1U << CAP_NET_BIND_SERVICE;
    must(::syscall(SYS_capset, &header, sets), "capset");
    must(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0), "raise an ambient one");
  }
  void check(int) override {
    expect_equal("ambient", status_field("self", "CapAmb"), "0000000000000400");
    expect(::setresuid(1, 1, 1) != 0, "it can change its user");
  }
};

void install_filter(long call, int error) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {std::size(code), code};
  must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "set no_new_privs");
  must(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
}

void expect_refused(long call, int error) {
  errno = 0;
  expect_equal("result of a refused call", ::syscall(call, 0, 0, 0), -1);
  expect_equal("errno of a refused call", errno, error);
}

int error_of(int round) { return 100 + round % 20; }

class Filter : public ChangedChild {
 private:
  void become(int round) override {
    install_filter(SYS_getpriority, error_of(round));
    install_filter(SYS_personality, error_of(round + 1));
  }
  void check(int round) override {
    expect_refused(SYS_getpriority, error_of(round));
    expect_refused(SYS_personality, error_of(round + 1));
  }
};

// One thread has a filter that the others do not have.
class FilterOfThread : public ChangedChild {
 private:
  void become(int round) override {
    thread_ = std::make_unique<ServiceThread>();
    thread_->ask([round] { install_filter(SYS_getpriority, error_of(round)); });
  }
  void check(int round) override {
    thread_->ask([round] { expect_refused(SYS_getpriority, error_of(round)); });
    expect(::syscall(SYS_getpriority, 0, 0) >= 0, "the other thread is refused too");
  }
  std::unique_ptr<ServiceThread> thread_;
};

constexpr Kind kKinds[] = {
    {"user", make<User>},
    {"saved_user", make<SavedUser>},
    {"capabilities", make<Capabilities>},
    {"seccomp_filter", make<Filter>},
    {"seccomp_filter_of_thread", make<FilterOfThread>},
};

}  // namespace

std::span<const Kind> credential_objects() { return kKinds; }

}  // namespace probe
