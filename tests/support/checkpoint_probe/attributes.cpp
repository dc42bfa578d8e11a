// What one process has of its own: limits, names, places.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "object.h"

namespace probe {
namespace {

class Umask : public Object {
 public:
  void set_up() override {}
  void change(int round) override { ::umask(value(round)); }
  void verify(int round) override { expect_equal("umask", ::umask(0), value(round)); }

 private:
  static mode_t value(int round) { return static_cast<mode_t>((round * 9 + 7) & 0777); }
};

std::string working_directory() {
  char path[4096];
  return must(::getcwd(path, sizeof path), "getcwd");
}

class WorkingDirectory : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    ::mkdir(place(round).c_str(), 0755);
    must(::chdir(place(round).c_str()), "chdir");
    expected_ = working_directory();
  }
  void verify(int round) override {
    expect_equal("working directory", working_directory(), expected_);
    must(::rmdir(place(round).c_str()), "rmdir");
  }

 private:
  static std::string place(int round) { return in_directory(text("working-directory.", round)); }
  std::string expected_;
};

// The variables, and the memory that the kernel shows of them and of the command line.
class Environment : public Object {
 public:
  void set_up() override {
    at_start_ = read_file("/proc/self/environ");
    command_line_ = read_file("/proc/self/cmdline");
    program_ = program();
  }
  void change(int round) override { must(::setenv("PROBE_ROUND", text(round).c_str(), 1), "setenv"); }
  void verify(int round) override {
    const char* found = std::getenv("PROBE_ROUND");
    expect_equal("PROBE_ROUND", std::string(found ? found : "not set"), text(round));
    expect_equal("/proc/self/environ", read_file("/proc/self/environ"), at_start_);
    expect_equal("/proc/self/cmdline", read_file("/proc/self/cmdline"), command_line_);
    expect_equal("/proc/self/exe", program(), program_);
  }

 private:
  static std::string program() {
    char path[4096];
    return std::string(
        path, static_cast<size_t>(must(::readlink("/proc/self/exe", path, sizeof path), "readlink")));
  }
  std::string at_start_, command_line_, program_;
};

// Only upwards, as the way back needs a capability over the host.
class Nice : public Object {
 public:
  void set_up() override { first_ = value(); }
  void change(int round) override { must(::setpriority(PRIO_PROCESS, 0, expected(round)), "setpriority"); }
  void verify(int round) override { expect_equal("nice value", value(), expected(round)); }

 private:
  static int value() {
    errno = 0;
    return ::getpriority(PRIO_PROCESS, 0);
  }
  int expected(int round) const { return std::max(value(), std::min(19, first_ + 1 + round)); }
  int first_ = 0;
};

class ResourceLimits : public Object {
 public:
  void set_up() override {}
  void change(int round) override {
    const auto low = static_cast<rlim_t>(round % 50);
    set(RLIMIT_NOFILE, 200 + low);
    set(RLIMIT_STACK, (4096 + low) * 1024);
    set(RLIMIT_CORE, low * 4096);
    for (int i = 0; i < kCount; ++i) limits_[i] = get(i);
  }
  void verify(int) override {
    for (int i = 0; i < kCount; ++i) {
      expect_equal(text("soft limit ", i), get(i).rlim_cur, limits_[i].rlim_cur);
      expect_equal(text("hard limit ", i), get(i).rlim_max, limits_[i].rlim_max);
    }
  }

 private:
  static constexpr int kCount = RLIM_NLIMITS;

  static rlimit get(int which) {
    rlimit limit = {};
    must(::getrlimit(static_cast<__rlimit_resource_t>(which), &limit), "getrlimit");
    return limit;
  }
  static void set(int which, rlim_t soft) {
    rlimit limit = get(which);
    limit.rlim_cur = std::min(soft, limit.rlim_max);
    must(::setrlimit(static_cast<__rlimit_resource_t>(which), &limit), "setrlimit");
  }
  rlimit limits_[kCount] = {};
};

class OutOfMemoryScore : public Object {
 public:
  void set_up() override {}
  void change(int round) override { write_file(kFile, text(100 + round)); }
  void verify(int round) override {
    expect_equal("oom_score_adj", read_file(kFile), text(100 + round, "\n"));
  }

 private:
  static constexpr const char* kFile = "/proc/self/oom_score_adj";
};

class Name : public Object {
 public:
  void set_up() override {}
  void change(int round) override { must(::prctl(PR_SET_NAME, name(round).c_str()), "prctl"); }
  void verify(int round) override { expect_equal("name", read_file("/proc/self/comm"), name(round) + "\n"); }

 private:
  static std::string name(int round) { return text("a) b ", round); }  // hard to read in /proc/PID/stat
};

class Dumpable : public Object {
 public:
  void set_up() override {}
  void change(int round) override { must(::prctl(PR_SET_DUMPABLE, round % 2), "prctl"); }
  void verify(int round) override {
    expect_equal("dumpable", must(::prctl(PR_GET_DUMPABLE), "prctl"), round % 2);
  }
};

class NoNewPrivileges : public Object {
 public:
  void set_up() override { must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl"); }
  void change(int) override {}
  void verify(int) override {
    expect_equal("no_new_privs", must(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), "prctl"), 1);
  }
};

constexpr Kind kKinds[] = {
    {"umask", make<Umask>},
    {"working_directory", make<WorkingDirectory>},
    {"environment", make<Environment>},
    {"nice", make<Nice>},
    {"resource_limits", make<ResourceLimits>},
    {"oom_score_adj", make<OutOfMemoryScore>},
    {"name", make<Name>},
    {"dumpable", make<Dumpable>},
    {"no_new_privs", make<NoNewPrivileges>},
};

}  // namespace

std::span<const Kind> attribute_objects() { return kKinds; }

}  // namespace probe
