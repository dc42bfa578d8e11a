#include "checkpoint/preflight_processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>
#include <unordered_set>

#include "base/process_stat.h"
#include "base/text.h"
#include "runtime/vfork.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kMaxStatus = 64 << 10;
constexpr size_t kMaxChildren = 4 << 20;

// CRIU 4.2 takes these two nested (its CLONE_SUBNS), "Can't dump nested ... namespace" is for the rest.
constexpr std::array<const char*, 2> kNestable = {"mnt", "net"};
constexpr std::array<const char*, 9> kNamespaces = {
    "mnt", "net", "user", "pid", "uts", "ipc", "cgroup", "time", "time_for_children"};

bool is_nestable(std::string_view type) { return std::ranges::find(kNestable, type) != kNestable.end(); }

std::string_view line_of(std::string_view status, std::string_view key) {
  for (size_t at = status.find(key); at != std::string_view::npos; at = status.find(key, at + 1)) {
    if ((at > 0 && status[at - 1] != '\n') || status.substr(at + key.size(), 1) != ":") continue;
    const size_t begin = at + key.size() + 1;
    return trim(status.substr(begin, std::min(status.find('\n', begin), status.size()) - begin));
  }
  return {};
}

std::vector<uint64_t> numbers_of(std::string_view status, std::string_view key) {
  std::vector<uint64_t> numbers;
  for (const std::string& word : split_words(line_of(status, key)))
    if (const auto number = parse_unsigned(word)) numbers.push_back(*number);
  return numbers;
}

uint64_t number_of(std::string_view status, std::string_view key) {
  const auto numbers = numbers_of(status, key);
  return numbers.empty() ? 0 : numbers.front();
}

bool are_zero(const std::vector<uint64_t>& ids) {  // the filesystem's, the last, does not matter
  return std::all_of(ids.begin(), ids.begin() + std::min<ptrdiff_t>(3, std::ssize(ids)),
                     [](uint64_t id) { return id == 0; });
}

std::vector<std::string> numbers_in(const UniqueFd& directory) {
  std::vector<std::string> numbers;
  UniqueFd own(::openat(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(own ? ::fdopendir(own.get()) : nullptr, ::closedir);
  if (stream) own.release();  // the stream's now
  while (const dirent* entry = stream ? ::readdir(stream.get()) : nullptr)
    if (parse_unsigned(entry->d_name)) numbers.emplace_back(entry->d_name);
  return numbers;
}

// Each thread has children of its own. False where the kernel does not list them.
bool add_children(pid_t process, uint64_t threads, std::vector<pid_t>& found) {
  std::vector<std::string> tasks = {std::to_string(process)};
  const UniqueFd directory = open_process_directory(process, "task");
  if (!directory) return true;
  if (threads > 1) tasks = numbers_in(directory);
  for (const std::string& task : tasks) {
    const auto text = read_begin(directory.get(), task + "/children", kMaxChildren);
    if (!text && errno == ENOENT && ::faccessat(directory.get(), (task + "/status").c_str(), F_OK, 0) == 0)
      return false;
    if (!text) continue;
    for (const std::string& word : split_words(*text))
      if (const auto child = parse_unsigned(word)) found.push_back(static_cast<pid_t>(*child));
  }
  return true;
}

bool is_descendant(pid_t pid, const Tree& tree) {
  for (int depth = 0; depth < 64 && pid > 1; ++depth) {
    const UniqueFd directory = open_process_directory(pid, "");
    const auto status = directory ? read_begin(directory.get(), "status", kMaxStatus) : std::nullopt;
    if (!status) return true;  // it has ended
    pid = static_cast<pid_t>(number_of(*status, "PPid"));
    if (tree.contains(pid)) return true;
  }
  return false;
}

// The order that kcmp(2) gives address spaces; equal where one of the two has ended.
struct ByMemory {
  bool operator()(pid_t a, pid_t b) const { return ::syscall(SYS_kcmp, a, b, KCMP_VM, 0, 0) == 1; }
};

// Whether one of its threads waits for that child in vfork(2): the kernel wakes it when they share no memory
// any more.
bool waits_for(pid_t parent, const Task& child) {
  const UniqueFd threads = open_process_directory(parent, "task");
  if (child.parent != parent || !threads) return false;
  return std::ranges::any_of(numbers_in(threads), [](const std::string& thread) {
    const auto stat = read_process_stat(static_cast<pid_t>(parse_unsigned(thread).value_or(0)));
    return stat && stat->state() == 'D';
  });
}

// Processes with one memory between them: clone(CLONE_VM) without CLONE_THREAD, also vfork(2) until exec.
void find_shared_memory(const Tree& tree, const Deadline& deadline, Findings& findings) {
  std::unordered_map<uint64_t, std::set<pid_t, ByMemory>> alike;
  for (const Task& task : tree.tasks) {
    if (task.memory_size == 0 || deadline.is_over()) continue;
    const auto [other, is_new] = alike[task.memory_size].insert(task.pid);
    if (is_new || !runtime::share_memory(*other, task.pid)) continue;
    if (waits_for(*other, task))
      findings.push_back(
          {task.pid,
           {Severity::delay, "vfork",
            "it has not executed its program yet: the save waits for that, for ten seconds at most",
            "see what it waits for in /proc/PID/stack on the host"}});
    else if (runtime::share_memory(*other, task.pid))
      findings.push_back(
          {task.pid,
           {Severity::obstacle, "memory shared with another process",
            "CRIU saves threads that share memory, but no processes that do (CLONE_VM)", "end one of them"}});
  }
}

}  // namespace

std::optional<uint64_t> object_number(std::string_view link, std::string_view type) {
  const size_t size = type.size();
  if (size == 0 || link.size() < size + 4 || !link.starts_with(type) || link.substr(size, 2) != ":[" ||
      !link.ends_with(']'))
    return std::nullopt;
  return parse_unsigned(link.substr(size + 2, link.size() - size - 3));
}

std::optional<Task> parse_task(std::string_view status) {
  Task task;
  task.pid = static_cast<pid_t>(number_of(status, "Pid"));
  const std::string_view state = line_of(status, "State");
  if (task.pid == 0 || state.empty()) return std::nullopt;
  task.state = state.front();
  task.program = shortened(line_of(status, "Name"));
  for (const uint64_t pid : numbers_of(status, "NSpid")) task.inside.push_back(static_cast<pid_t>(pid));
  task.tracer = static_cast<pid_t>(number_of(status, "TracerPid"));
  task.threads = number_of(status, "Threads");
  task.parent = static_cast<pid_t>(number_of(status, "PPid"));
  task.group = static_cast<pid_t>(number_of(status, "NSpgid"));
  task.session = static_cast<pid_t>(number_of(status, "NSsid"));
  const auto sessions = numbers_of(status, "NSsid");
  task.has_session = sessions.empty() || sessions.back() != 0;
  task.is_root_on_host = are_zero(numbers_of(status, "Uid")) && are_zero(numbers_of(status, "Gid"));
  task.memory_size = number_of(status, "VmSize");
  return task;
}

std::optional<Task> read_task(pid_t pid) {
  const UniqueFd directory = open_process_directory(pid, "");
  if (!directory) return std::nullopt;
  const auto status = read_begin(directory.get(), "status", kMaxStatus);
  if (!status) return std::nullopt;
  auto task = parse_task(*status);
  if (!task || task->state == 'Z') return task;
  for (const char* type : kNamespaces) {
    const std::string link = link_text(directory.get(), fmt::format("ns/{}", type));
    const std::string_view kind = link.empty() ? "" : std::string_view(link).substr(0, link.find(':'));
    if (const auto number = object_number(link, kind)) task->namespaces[type] = *number;
  }
  if (const auto number = object_number(link_text(directory.get(), "ns/pid_for_children"), "pid"))
    task->namespaces["pid_for_children"] = *number;
  return task;
}

std::vector<Finding> judge_task(const Task& task, const Task& init, const ProcessRules& rules) {
  std::vector<Finding> findings;
  const auto add = [&](std::string object, std::string why, std::string cure,
                       Severity severity = Severity::obstacle) {
    findings.push_back({severity, std::move(object), std::move(why), std::move(cure)});
  };
  if (task.tracer != 0)
    add("tracer", "a debugger has it, and only one process at a time may trace another",
        "end the debugger, or strace");
  if (task.state == 'Z') {
    if (task.threads > 1)
      add("first thread", "it has ended and others of its threads have not, which CRIU does not save",
          "end the process");
    return findings;  // it has nothing else any more
  }
  if (!task.has_session)
    add("session", "the leader of its session is not in the container: it was begun by 'holm exec'",
        "start it by setsid, or end it");
  for (const auto& [type, number] : task.namespaces) {
    if (is_nestable(type) || type == "pid_for_children") continue;
    const auto own = init.namespaces.find(type);
    if (own == init.namespaces.end() || own->second == number) continue;
    if (type == "time_for_children" && task.namespaces.contains("time") && init.namespaces.contains("time") &&
        task.namespaces.at("time") != init.namespaces.at("time"))
      continue;  // told already
    add(fmt::format("{} namespace", type == "time_for_children" ? "time" : type),
        "it has one of its own inside of the container's, which CRIU does not save",
        type == "uts"    ? "for systemd: ProtectHostname=no in a drop-in of the service"
        : type == "user" ? "for systemd: PrivateUsers=no in a drop-in of the service"
        : type == "ipc"  ? "for systemd: PrivateIPC=no in a drop-in of the service"
                         : "run it without, or stop it");
  }
  const auto pid_of = [&](const char* type) {
    const auto at = task.namespaces.find(type);
    return at == task.namespaces.end() ? 0 : at->second;
  };
  if (pid_of("pid_for_children") != 0 && pid_of("pid_for_children") != pid_of("pid"))
    add("pid namespace for children", "CRIU does not see it: later children would not get it",
        "start the children before, or end it", Severity::warning);
  if (!rules.has_user_namespace && !rules.may_read_limits && !task.is_root_on_host)
    add("resource limits",
        "without a user namespace, CRIU needs CAP_SYS_RESOURCE to read those of other users' processes, and "
        "this host's root lacks it",
        "set user_namespace = true, or run holm with that capability");
  if (task.state == 'T' && rules.has_v1_freezer)
    add("stopped process",
        "the freezer of this host's cgroup v1 keeps a stopped process from tracers, so CRIU would wait for "
        "it "
        "for ever",
        "send it SIGCONT, or end it; a host with cgroup v2 saves it");
  if (task.state == 'D')
    add("uninterruptible wait", "it cannot be stopped before what it waits for is there: the save waits too",
        "see what it waits for in /proc/PID/stack on the host", Severity::delay);
  return findings;
}

Tree find_tree(pid_t init, const Deadline& deadline) {
  Tree tree;
  // Depth first, as CRIU does: of a nested namespace it reads the mounts from the first process it meets.
  std::vector<pid_t> waiting = {init};
  while (!waiting.empty()) {
    if (deadline.is_over()) {
      tree.is_complete = false;
      break;
    }
    const pid_t pid = waiting.back();
    waiting.pop_back();
    if (tree.contains(pid)) continue;  // it moved while we looked
    auto task = read_task(pid);
    if (!task) continue;
    std::vector<pid_t> children;
    if (!add_children(pid, task->threads, children)) tree.has_children_files = false;
    waiting.insert(waiting.end(), children.rbegin(), children.rend());
    tree.places.emplace(pid, tree.tasks.size());
    tree.tasks.push_back(std::move(*task));
  }
  return tree;
}

namespace {

bool has_ended(pid_t process) {
  const auto task = read_task(process);
  return !task || task->state == 'Z';
}

// A shell within another one's session, as `su` begins it: a job that is no child of the session's leader. A
// terminal is handed on at fork alone, and CRIU forks before it gives the leader its own.
std::optional<Finding> judge_inner_shell(const Task& task) {
  if (task.group != task.pid || task.session == task.pid || task.parent == task.session) return std::nullopt;
  const auto stat = read_process_stat(task.pid);
  if (!stat || stat->field(7) == 0) return std::nullopt;
  return Finding{
      Severity::warning, "control of its terminal",
      "CRIU gives that back to the first process of a session alone: this one controls no jobs there "
      "any more, and cannot open /dev/tty",
      "leave the inner shell before"};
}

}  // namespace

Findings judge_tree(const Tree& tree, const InGroups& in_groups, const ProcessRules& rules,
                    const Deadline& deadline) {
  Findings findings;
  std::unordered_set<pid_t> inside(in_groups.before.begin(), in_groups.before.end());
  inside.insert(in_groups.after.begin(), in_groups.after.end());
  for (const Task& task : tree.tasks) {
    for (Finding& finding : judge_task(task, tree.init(), rules))
      findings.push_back({task.pid, std::move(finding)});
    if (auto finding = judge_inner_shell(task)) findings.push_back({task.pid, std::move(*finding)});
    if (!inside.contains(task.pid) && !has_ended(task.pid))
      findings.push_back({task.pid,
                          {Severity::obstacle, "cgroup",
                           "the host's root has moved it out of the container's, where a restore puts none",
                           "move it back"}});
  }
  find_shared_memory(tree, deadline, findings);
  if (!tree.is_complete || !tree.has_children_files) return findings;
  for (const pid_t pid : in_groups.before) {
    if (tree.contains(pid)) continue;
    const auto task = read_task(pid);
    // One that was born after the tree was read has its parent there, or below another such.
    if (!task || task->state == 'Z' || is_descendant(pid, tree)) continue;
    findings.push_back({pid,
                        {Severity::warning, "process",
                         "'holm exec' began it, so it is no descendant of init: it is not saved",
                         "end it, or start such programs from inside"}});
  }
  return findings;
}

}  // namespace holm::checkpoint
