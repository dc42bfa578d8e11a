#include "tests/support/holm_runner.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/capability.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/process_stat.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/cgroup.h"
#include "runtime/paths.h"
#include "tests/support/slow_host.h"

namespace holm::test {

using namespace std::chrono_literals;

namespace {

// The texts as execve(2) wants them; they must outlive the result.
std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> with_variables(const std::map<std::string, std::string>& added) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry; ++entry) {
    const std::string variable = *entry;
    if (!added.contains(variable.substr(0, variable.find('=')))) variables.push_back(variable);
  }
  for (const auto& [name, value] : added) variables.push_back(name + "=" + value);
  return variables;
}

// Not by fork(2), which copies page tables: an emulated host takes long for that.
pid_t spawn(std::vector<std::string> command, const std::map<std::string, std::string>& environment, int in,
            int out, int errors) {
  std::vector<std::string> variables = with_variables(environment);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out, 1);
  ::posix_spawn_file_actions_adddup2(&actions, errors, 2);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  pid_t child = -1;
  const int error = ::posix_spawnp(&child, command.front().c_str(), &actions, nullptr,
                                   pointers_to(command).data(), pointers_to(variables).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw Error::system(error, "run '" + command.front() + "'");
  return child;
}

UniqueFd file_with(const std::string& content) {
  UniqueFd fd(::memfd_create("input", MFD_CLOEXEC));
  sys::write_all(fd.get(), content, "input");
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

std::string content_of(const UniqueFd& fd) {
  ::lseek(fd.get(), 0, SEEK_SET);
  return read_fd(fd.get(), "output", 64 << 20);
}

// Of the group or of one below it.
bool has_processes(const std::string& group) {
  bool found = false;
  ignore_errors([&] { found = !read_file(group + "/cgroup.procs").empty(); });  // it was removed meanwhile
  for (const std::string& name : list_directory(group)) {
    const auto status = sys::stat_path(group + "/" + name);
    if (status && S_ISDIR(status->st_mode)) found = found || has_processes(group + "/" + name);
  }
  return found;
}

// A monitor, or what one has forked and is the same program still.
bool is_monitor(const std::string& pid, const std::string& run_directory) {
  bool is_one = false;
  ignore_errors([&] {  // it ended
    const std::string process = "/proc/" + pid;
    is_one = read_file(process + "/cmdline").find("monitor-process") != std::string::npos &&
             read_file(process + "/environ").find("HOLM_RUN_DIR=" + run_directory) != std::string::npos;
  });
  return is_one;
}

// Such a process ends by itself, or executes another program: a sampler, which alone may outlive its monitor,
// or an init to be.
bool is_forked_by_monitor(const std::string& pid, const std::string& run_directory) {
  bool is_one = false;
  ignore_errors([&] {  // it ended
    const auto stat = read_process_stat(static_cast<pid_t>(parse_unsigned(pid).value_or(0)));
    is_one = (stat && is_monitor(std::to_string(stat->parent()), run_directory)) ||
             read_file("/proc/" + pid + "/comm") == "holm-sampler\n";
  });
  return is_one;
}

// Whether the test case that runs has failed so far.
class FailureWatch : public doctest::IReporter {
 public:
  static inline bool has_failed = false;
  explicit FailureWatch(const doctest::ContextOptions&) {}
  void test_case_start(const doctest::TestCaseData&) override { has_failed = false; }
  void log_assert(const doctest::AssertData& checked) override {
    has_failed = has_failed || checked.m_failed;
  }
  void test_case_exception(const doctest::TestCaseException&) override { has_failed = true; }
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("failure-watch", 1, FailureWatch);

// The end of what monitors, inits and CRIU wrote, before all of it is removed.
void show_logs(const std::string& run_directory) {
  for (const std::string& container : list_directory(run_directory)) {
    for (const char* name : {"monitor.log", "init.log", "criu.log"}) {
      const std::string path = run_directory + "/" + container + "/" + name;
      const std::string text = run_host({"tail", "--bytes=2000", path}).out;
      if (!text.empty()) MESSAGE("the end of ", path, ":\n", text);
    }
  }
}

// The busybox template, made once: an installation links to its files, as an emulated host takes 0.3 s to
// make it.
const TemporaryDirectory& shared_busybox() {
  static const TemporaryDirectory directory;
  static const Result built = run_host({holm_program(), "template", "build", "busybox"},
                                       {{"HOLM_STATE_DIR", directory.path() + "/state"},
                                        {"HOLM_RUN_DIR", directory.path() + "/run"},
                                        {"HOLM_HOST_CONFIG", directory.path() + "/holm.toml"}});
  CHECK_MESSAGE(built.status == 0, built.errors);
  return directory;
}

}  // namespace

Result run_host(const std::vector<std::string>& command,
                const std::map<std::string, std::string>& environment, const std::string& input) {
  // Files, not pipes: a monitor that inherits them must not keep the test waiting for the end of a stream.
  const UniqueFd in = file_with(input), out = file_with(""), errors = file_with("");
  const pid_t child = spawn(command, environment, in.get(), out.get(), errors.get());
  Result result;
  result.status = wait_status(child);
  result.out = content_of(out);
  result.errors = content_of(errors);
  return result;
}

int wait_status(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool eventually(const std::function<bool()>& holds, std::chrono::milliseconds limit) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + limit * patience();
  for (;;) {
    const auto begin = Clock::now();
    if (holds()) return true;
    const auto now = Clock::now();
    if (now >= end) return false;
    // What is waited for needs the CPU, too.
    std::this_thread::sleep_for(std::max<Clock::duration>(10ms, 2 * (now - begin)));
  }
}

std::string holm_program() {
  const char* program = std::getenv("HOLM_PROGRAM");
  return program ? program : "holm";
}

HostMount::HostMount(std::vector<std::string> options, const std::string& target) : target_(target) {
  sys::make_directories(target, 0755);
  std::vector<std::string> command = {"mount"};
  std::ranges::move(options, std::back_inserter(command));
  command.push_back(target);
  const Result mounted = run_host(command);
  CHECK_MESSAGE(mounted.status == 0, mounted.errors);
}

HostMount::~HostMount() { run_host({"umount", "-R", "-l", target_}); }

Installation::Installation() {
  const TemporaryDirectory& shared = shared_busybox();
  sys::make_directory(state_directory(), 0700);
  std::filesystem::copy(shared.path() + "/state/templates", state_directory() + "/templates",
                        std::filesystem::copy_options::recursive |
                            std::filesystem::copy_options::copy_symlinks |
                            std::filesystem::copy_options::create_hard_links);
}

Installation::~Installation() {
  if (FailureWatch::has_failed) show_logs(run_directory());
  // Not through names that a test may have damaged: whatever is there.
  for (const std::string& name : list_directory(state_directory() + "/containers")) {
    if (name.front() != '.') holm({"destroy", "--force", name});
  }
  holm({"gc"});
  // Links end a moment after their network namespace.
  std::vector<std::string> left;
  eventually([&] { return (left = leftovers()).empty(); }, 3s);
  for (const std::string& thing : left) CHECK_MESSAGE(false, "left behind: ", thing);
}

std::map<std::string, std::string> Installation::environment() const {
  return {{"HOLM_STATE_DIR", state_directory()},
          {"HOLM_RUN_DIR", run_directory()},
          {"HOLM_HOST_CONFIG", host_config()}};
}

Result Installation::holm(const std::vector<std::string>& words,
                          const std::map<std::string, std::string>& extra_environment,
                          const std::string& input) const {
  std::vector<std::string> command = {holm_program()};
  command.insert(command.end(), words.begin(), words.end());
  auto variables = environment();
  variables.insert(extra_environment.begin(), extra_environment.end());
  return run_host(command, variables, input);
}

std::string Installation::holm_ok(const std::vector<std::string>& words) const {
  const Result result = holm(words);
  CHECK_MESSAGE(result.status == 0, "holm ", join(words, " "), ": ", result.errors);
  return result.out;
}

pid_t Installation::holm_background(const std::vector<std::string>& words,
                                    const std::map<std::string, std::string>& extra_environment) const {
  std::vector<std::string> command = {holm_program()};
  command.insert(command.end(), words.begin(), words.end());
  auto variables = environment();
  variables.insert(extra_environment.begin(), extra_environment.end());
  const UniqueFd null = sys::open("/dev/null", O_RDWR);
  return spawn(command, variables, null.get(), null.get(), null.get());
}

std::string Installation::write_config(const std::string& name, const std::string& text) const {
  const std::string path = directory() + "/" + name + ".toml";
  const bool has_root =
      text.find("template") != std::string::npos || text.find("root =") != std::string::npos;
  const bool has_network = text.find("[[network]]") != std::string::npos;
  replace_file(path, (has_root ? "" : "template = \"busybox\"\n") + text +
                         (has_network ? "" : "\n[[network]]\nmode = \"none\"\n"));
  return path;
}

void Installation::start(const std::string& name, const std::string& text) const {
  holm_ok({"start", write_config(name, text)});
}

std::string Installation::column(const std::string& name, const std::string& column) const {
  for (const std::string& line : split(holm_ok({"list", "-a", "-H", "-o", "name," + column}), '\n')) {
    if (!line.starts_with(name + " ")) continue;
    return std::string(trim(std::string_view(line).substr(name.size())));
  }
  return "";
}

pid_t Installation::pid_of(const std::string& name) const {
  return static_cast<pid_t>(parse_unsigned(column(name, "pid")).value_or(0));
}

pid_t Installation::monitor_of(const std::string& name) const {
  for (const auto& container : nlohmann::json::parse(holm_ok({"--json", "list", "-a"})))
    if (container.at("name") == name) return container.value("monitor_pid", 0);
  return 0;
}

std::string Installation::mark() const {
  runtime::Paths paths;
  paths.run = run_directory();
  return paths.installation();
}

std::vector<std::string> Installation::cgroup_parents() const {
  runtime::Paths paths;
  paths.run = run_directory();
  static const auto layout = quotas::detect_cgroup_layout();
  return quotas::parent_directories(layout, paths.cgroup_parent());
}

std::vector<std::string> Installation::leftovers() const {
  runtime::Paths paths;
  paths.state = state_directory();
  paths.run = run_directory();
  std::vector<std::string> found;
  for (const std::string& directory : cgroup_parents()) {
    // An empty scope is on its way out: systemd removes it a moment after its last process.
    const bool is_scope = quotas::detect_cgroup_manager() == quotas::CgroupLayout::Manager::systemd;
    if (is_scope) eventually([&] { return !sys::exists(directory) || has_processes(directory); }, 3s);
    if (sys::exists(directory)) found.push_back("cgroup " + directory);
  }
  for (const std::string& link : list_directory("/sys/class/net")) {
    if (link == paths.bridge() || paths.number_of_veth(link) >= 0) found.push_back("link " + link);
  }
  if (run_host({"nft", "list", "table", "inet", paths.firewall_table()}).status == 0)
    found.push_back("table " + paths.firewall_table());
  if (read_file("/proc/self/mountinfo").find(directory()) != std::string::npos)
    found.push_back("a mount below " + directory());
  for (const std::string& name : list_directory(run_directory())) found.push_back("run directory " + name);
  for (const std::string& name : list_directory(state_directory() + "/containers"))
    found.push_back("container directory " + name);
  for (const std::string& name : list_directory(state_directory() + "/numbers"))
    found.push_back("number " + name);
  for (const std::string& name : list_directory(state_directory() + "/addresses"))
    found.push_back("address " + name);
  for (const std::string& entry : list_directory("/proc")) {
    if (!parse_unsigned(entry) || !is_monitor(entry, run_directory())) continue;
    if (is_forked_by_monitor(entry, run_directory()))
      eventually([&] { return !is_monitor(entry, run_directory()); });
    if (is_monitor(entry, run_directory())) found.push_back("monitor " + entry);
  }
  return found;
}

bool have_root() { return ::geteuid() == 0; }
bool have_cgroup_v2() {
  const auto controllers = read_file_if_exists("/sys/fs/cgroup/cgroup.controllers");
  return controllers && controllers->find("memory") != std::string::npos;
}
bool have_nat() { return have_root() && sys::exists("/proc/sys/net/ipv4"); }
bool have_sys_resource() { return ::prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 1; }
bool have_kernel(unsigned major, unsigned minor) {
  struct utsname host = {};
  ::uname(&host);
  unsigned own_major = 0, own_minor = 0;
  std::sscanf(host.release, "%u.%u", &own_major, &own_minor);
  return own_major > major || (own_major == major && own_minor >= minor);
}

}  // namespace holm::test
