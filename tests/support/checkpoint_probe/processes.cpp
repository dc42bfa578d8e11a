// Processes: who is whose parent, sessions and groups, ends that nobody has asked for yet.
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "object.h"
#include "partner.h"

namespace probe {
namespace {

// Two generations; each process knows who it and its parent are.
class ProcessTree : public Object {
 public:
  void set_up() override {
    self_ = ::getpid();
    parent_ = ::getppid();
    for (std::unique_ptr<Partner>& child : children_) child = make_child();
  }
  void change(int round) override { children_[round % 2] = make_child(); }
  void verify(int) override {
    expect_equal("own pid", ::getpid(), self_);
    expect_equal("own parent", ::getppid(), parent_);
    for (const std::unique_ptr<Partner>& child : children_) child->ask(0);
  }

 private:
  struct Person {
    pid_t pid = -1, parent = -1;
    std::unique_ptr<Partner> children[2];

    void serve(int generation) {
      if (pid < 0) be_born(generation);
      expect_equal("pid of a child", ::getpid(), pid);
      expect_equal("parent of a child", ::getppid(), parent);
      for (const std::unique_ptr<Partner>& child : children)
        if (child) child->ask(generation + 1);
    }
    void be_born(int generation) {
      pid = ::getpid();
      parent = ::getppid();
      if (generation > 0) return;
      for (std::unique_ptr<Partner>& child : children) child = make_person();
    }
  };

  static std::unique_ptr<Partner> make_person() {
    auto person = std::make_shared<Person>();
    return std::make_unique<Partner>(Inherits::descriptors,
                                     [person](int generation) { person->serve(generation); });
  }
  std::unique_ptr<Partner> make_child() {
    std::unique_ptr<Partner> child = make_person();
    child->ask(0);
    return child;
  }

  pid_t self_ = -1, parent_ = -1;
  std::unique_ptr<Partner> children_[2];
};

// A session of its own with a second process group in it.
class Session : public Object {
 public:
  void set_up() override {}
  void change(int) override {
    leader_ = std::make_unique<Partner>(Inherits::descriptors, [this](int request) { lead(request); });
    leader_->ask(kBegin);
    expect_equal("own session", ::getsid(leader_->pid()), leader_->pid());
  }
  void verify(int) override {
    expect_equal("session of the leader", ::getsid(leader_->pid()), leader_->pid());
    expect_equal("process group of the leader", ::getpgid(leader_->pid()), leader_->pid());
    leader_->ask(kVerify);
  }

 private:
  enum Request { kBegin, kVerify };

  void lead(int request) {
    if (request == kBegin) {
      must(::setsid(), "setsid");
      own_group_ = std::make_unique<Partner>(Inherits::descriptors, [](int) {});
      in_its_group_ = std::make_unique<Partner>(Inherits::descriptors, [](int) {});
      must(::setpgid(own_group_->pid(), 0), "setpgid");
      must(::setpgid(in_its_group_->pid(), own_group_->pid()), "setpgid");
    }
    for (const auto* member : {&own_group_, &in_its_group_}) {
      expect_equal("session of a member", ::getsid((*member)->pid()), ::getpid());
      expect_equal("process group of a member", ::getpgid((*member)->pid()), own_group_->pid());
      (*member)->ask(0);
    }
  }

  std::unique_ptr<Partner> leader_, own_group_, in_its_group_;
};

// Two that have ended, and that nobody has waited for.
class Zombies : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    exited_ = must(::fork(), "fork");
    if (exited_ == 0) ::_exit(exit_status(round));
    killed_ = must(::fork(), "fork");
    if (killed_ == 0)
      for (;;) ::pause();
    must(::kill(killed_, signal(round)), "kill");
    for (const pid_t pid : {exited_, killed_}) await("zombie", [&] { return is_zombie(pid); });
  }
  void verify(int round) override {
    for (const pid_t pid : {exited_, killed_}) expect_equal("state", process_state(pid), 'Z');
    expect_equal("end of one", describe_status(await_child(exited_)), text("exit ", exit_status(round)));
    expect_equal("end of the other", describe_status(await_child(killed_)), text("signal ", signal(round)));
  }

 private:
  static int exit_status(int round) { return (round + 7) % 256; }
  static int signal(int round) { return round % 2 == 0 ? SIGKILL : SIGHUP; }

  pid_t exited_ = -1, killed_ = -1;
};

// Stays stopped, with work to do as soon as it goes on.
class Stopped : public Object {
 public:
  void set_up() override {
    child_ = std::make_unique<Partner>(Inherits::descriptors, [](int) {});
  }
  void change(int) override {
    child_->kill(SIGSTOP);
    await("stop", [&] { return process_state(child_->pid()) == 'T'; });
    child_->send(0);
  }
  void verify(int) override {
    expect_equal("state", process_state(child_->pid()), 'T');
    sleep_for(100ms);
    expect(!is_readable(child_->answers()), "it has run on");
    child_->kill(SIGCONT);
    child_->receive();
  }

 private:
  std::unique_ptr<Partner> child_;
};

// Ends afterwards: its parent is told by a signal, and how.
class WaitStatus : public Object {
 public:
  void set_up() override {
    struct sigaction action = {};
    action.sa_sigaction = [](int, siginfo_t* info, void*) { seen_ = *info; };
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    must(::sigaction(SIGCHLD, &action, nullptr), "sigaction");
  }
  void change(int round) override {
    child_ = std::make_unique<Partner>(Inherits::descriptors, [round](int) { ::_exit(100 + round % 100); });
  }
  void verify(int round) override {
    seen_ = {};
    child_->send(0);
    await("signal of the end", [] { return seen_.si_pid != 0; });
    expect_equal("process of the signal", seen_.si_pid, child_->pid());
    expect_equal("code of the signal", seen_.si_code, CLD_EXITED);
    expect_equal("status of the signal", seen_.si_status, 100 + round % 100);
    expect_equal("end", describe_status(child_->wait_status()), text("exit ", 100 + round % 100));
  }

 private:
  inline static siginfo_t seen_ = {};
  std::unique_ptr<Partner> child_;
};

// A pidfd of a living process and one of a zombie.
class ProcessDescriptor : public Object {
 public:
  void set_up() override {}
  void change(int) override {
    child_ = std::make_unique<Partner>(Inherits::descriptors, [](int) { ::_exit(5); });
    descriptor_ = Fd(static_cast<int>(must(::syscall(SYS_pidfd_open, child_->pid(), 0), "pidfd_open")));
  }
  void verify(int) override {
    expect(!is_readable(descriptor_.get()), "the process seems to have ended");
    must(::syscall(SYS_pidfd_send_signal, descriptor_.get(), 0, nullptr, 0), "pidfd_send_signal");
    child_->send(0);
    await_readable(descriptor_.get(), "end of the process");
    siginfo_t info = {};
    must(::waitid(P_PIDFD, static_cast<id_t>(descriptor_.get()), &info, WEXITED | WNOWAIT), "waitid");
    expect_equal("process", info.si_pid, child_->pid());
    expect_equal("status", info.si_status, 5);
  }

 private:
  std::unique_ptr<Partner> child_;
  Fd descriptor_;
};

// Is given the children of its children.
class Subreaper : public Object {
 public:
  void set_up() override { must(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl"); }
  void change(int) override {
    orphan_ = make_pipe();
    child_ = std::make_unique<Partner>(Inherits::descriptors, [this](int) { leave_an_orphan(); });
  }
  void verify(int) override {
    int is_subreaper = 0;
    must(::prctl(PR_GET_CHILD_SUBREAPER, &is_subreaper, 0, 0, 0), "prctl");
    expect_equal("subreaper", is_subreaper, 1);
    child_->send(0);
    expect_data(orphan_.reader.get(), "word of the orphan", "born");
    expect_equal("end of the child", describe_status(child_->wait_status()), "exit 0");
    siginfo_t info = {};
    await("orphan", [&] {
      return must(::waitid(P_ALL, 0, &info, WEXITED | WNOHANG), "waitid of the orphan") == 0 &&
             info.si_pid != 0;
    });
    expect_equal("status of the orphan", info.si_status, 23);
  }

 private:
  [[noreturn]] void leave_an_orphan() {
    const pid_t parent = ::getpid();
    const pid_t orphan = must(::fork(), "fork");
    if (orphan == 0) {
      write_all(orphan_.writer.get(), "born");
      while (::getppid() == parent) sleep_for(5ms);
      ::_exit(23);
    }
    ::_exit(0);
  }

  std::unique_ptr<Partner> child_;
  Pipe orphan_;
};

// PR_SET_PDEATHSIG: the signal is still set, and still comes when the parent ends.
class ParentDeathSignal : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    word_ = make_pipe();
    parent_ = std::make_unique<Partner>(Inherits::descriptors, [this, round](int request) {
      if (!child_)
        child_ = std::make_unique<Partner>(Inherits::descriptors,
                                           [this, round](int step) { be_child(step, round); });
      child_->send(request);
      if (request != kAwaitSignal) child_->receive();
    });
    parent_->ask(kBegin);
  }
  void verify(int) override {
    parent_->ask(kVerify);
    parent_->ask(kAwaitSignal);
    expect_nothing_more(word_.reader.get(), "word of the signal's handler");
    parent_->kill(SIGKILL);
    parent_->wait_status();
    expect_data(word_.reader.get(), "word of the signal's handler", "parent ended");
  }

 private:
  enum Request { kBegin, kVerify, kAwaitSignal };

  static int signal(int round) { return round % 2 == 0 ? SIGUSR1 : SIGHUP; }

  void be_child(int request, int round) {
    if (request == kAwaitSignal) {  // not at its requests, which end with the parent before the signal comes
      sleep_for(2 * patient(kPatience));
      ::_exit(1);
    }
    if (request == kVerify) {
      int set = 0;
      must(::prctl(PR_GET_PDEATHSIG, &set, 0, 0, 0), "prctl");
      expect_equal("signal", set, signal(round));
      return;
    }
    word_of_handler_ = word_.writer.get();
    std::signal(signal(round), [](int) {
      if (::write(word_of_handler_, "parent ended", 12) == 12) ::_exit(0);
    });
    must(::prctl(PR_SET_PDEATHSIG, signal(round), 0, 0, 0), "prctl");
  }

  inline static int word_of_handler_ = -1;
  Pipe word_;
  std::unique_ptr<Partner> parent_, child_;
};

constexpr Kind kKinds[] = {
    {"process_tree", make<ProcessTree>},  {"session", make<Session>},
    {"zombies", make<Zombies>},           {"stopped_process", make<Stopped>},
    {"wait_status", make<WaitStatus>},    {"pidfd", make<ProcessDescriptor>},
    {"child_subreaper", make<Subreaper>}, {"parent_death_signal", make<ParentDeathSignal>},
};

}  // namespace

std::span<const Kind> process_objects() { return kKinds; }

}  // namespace probe
