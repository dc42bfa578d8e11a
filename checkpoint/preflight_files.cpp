#include "checkpoint/preflight_files.h"

#include <sys/utsname.h>

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/kcmp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cstdio>

#include <array>
#include <cstdlib>
#include <memory>

#include "base/file.h"
#include "base/text.h"
#include "checkpoint/event_semaphores.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kMaxFdinfo = 256 << 10;

// Never asks a file system's server: AT_STATX_DONT_SYNC is answered from the kernel's own memory, and a link
// of /proc is followed to the open file, not by its path.
std::optional<HeldFile> look_at(int directory, const std::string& name, std::string link) {
  struct statx status = {};
  if (::statx(directory, name.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | AT_EMPTY_PATH,
              STATX_TYPE | STATX_MNT_ID, &status) != 0)
    return std::nullopt;
  return HeldFile{std::move(link), status.stx_mode, ::makedev(status.stx_rdev_major, status.stx_rdev_minor),
                  ::makedev(status.stx_dev_major, status.stx_dev_minor), status.stx_mnt_id};
}

bool has_huge_pages() {
  const std::string directory = "/sys/kernel/mm/hugepages";
  for (const std::string& size : list_directory(directory))
    for (const char* file : {"nr_hugepages", "nr_overcommit_hugepages"}) {
      const UniqueFd at(::open((directory + "/" + size).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      const auto text = at ? read_begin(at.get(), file, 64) : std::nullopt;
      if (text && trim(*text) != "0") return true;
    }
  return false;
}

// A pipe of which the container has only readers or only writers.
struct PipeEnds {
  pid_t process = 0;
  int descriptor = 0;
  bool has_reader = false;
  bool has_writer = false;
};

class Search {
 public:
  Search(const Tree& tree, const FileRules& rules, const Deadline& deadline)
      : tree_(tree), rules_(rules), deadline_(deadline) {}
  HeldFiles run();

 private:
  void add_process(const Task& task);
  void add_descriptor(const Task& task, int directory, int information, int descriptor);
  void add_socket(const Task& task, int directory, int descriptor, uint64_t inode);
  void add_queue(const Task& task, int directory, int descriptor, const HeldFile& seen);
  void add_pipe(const Task& task, int information, int descriptor, const std::string& link);
  void find_other_ends();
  void add(pid_t process, const std::optional<Finding>& finding, const std::string& place);

  const Tree& tree_;
  const FileRules& rules_;
  const Deadline& deadline_;
  HeldFiles result_;
  std::unordered_map<std::string, PipeEnds> pipes_;
  std::unordered_set<uint64_t> semaphores_;  // eventfds of that kind
};

template <class Visit>
void each_number(UniqueFd directory, Visit&& visit) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(directory ? ::fdopendir(directory.get()) : nullptr,
                                                   ::closedir);
  if (!stream) return;
  directory.release();  // the stream's now
  while (const dirent* entry = ::readdir(stream.get())) {
    const auto number = parse_unsigned(entry->d_name);
    if (number && !visit(::dirfd(stream.get()), static_cast<int>(*number))) return;
  }
}

void Search::add(pid_t process, const std::optional<Finding>& finding, const std::string& place) {
  if (!finding) return;
  result_.findings.push_back({process, *finding});
  result_.findings.back().finding.object += " (" + place + ")";
}

void Search::add_process(const Task& task) {
  const UniqueFd directory = open_process_directory(task.pid, "");
  if (!directory || task.state == 'Z') return;
  for (const auto& [name, place] :
       {std::pair{"cwd", "working directory"}, {"root", "root"}, {"exe", "program"}}) {
    const auto file = look_at(directory.get(), name, link_text(directory.get(), name));
    if (file) add(task.pid, judge_file(*file, rules_), place);
  }
  const UniqueFd information = open_process_directory(task.pid, "fdinfo");
  unsigned count = 0;
  each_number(open_process_directory(task.pid, "fd"), [&](int descriptors, int descriptor) {
    add_descriptor(task, descriptors, information.get(), descriptor);
    if (++count % 64 == 0 && deadline_.is_over()) result_.is_complete = false;
    return result_.is_complete;
  });
  if (task.threads < 2) return;
  bool has_own = false;
  each_number(open_process_directory(task.pid, "task"), [&](int, int thread) {
    const long order = ::syscall(SYS_kcmp, task.pid, thread, KCMP_FILES, 0, 0);
    has_own = order == 1 || order == 2;
    return !has_own && !deadline_.is_over();
  });
  if (has_own)
    add(task.pid,
        Finding{Severity::warning, "descriptors of a thread",
                "CRIU saves those of a process's first thread and gives all threads these",
                "end it, if it has open what it needs"},
        "unshare");
}

void Search::add_descriptor(const Task& task, int directory, int information, int descriptor) {
  const std::string name = std::to_string(descriptor);
  const std::string link = link_text(directory, name);
  if (link.empty()) return;  // closed meanwhile
  const std::string place = fmt::format("descriptor {}", descriptor);
  const auto fdinfo = [&] { return read_begin(information, name, kMaxFdinfo).value_or(""); };
  if (link.front() == '/') {
    const auto file = look_at(directory, name, link);
    if (file) add(task.pid, judge_file(*file, rules_), place);
    if (file && is_message_queue(*file, rules_)) add_queue(task, directory, descriptor, *file);
  } else if (const auto inode = object_number(link, "socket")) {
    add_socket(task, directory, descriptor, *inode);
  } else if (link.starts_with("pipe:[")) {
    add_pipe(task, information, descriptor, link);
  } else if (link == "anon_inode:[pidfd]" || link.starts_with("pidfd:")) {
    add(task.pid, judge_pidfd(fdinfo(), tree_), place);
  } else if (link == "anon_inode:inotify") {
    add(task.pid, judge_watches(fdinfo(), rules_), place);
  } else if (link == "anon_inode:[eventfd]") {
    if (const auto number = semaphore_number(fdinfo())) semaphores_.insert(*number);
  } else if (link.starts_with("anon_inode:")) {
    add(task.pid, judge_anonymous(link), place);
  } else {
    add(task.pid, judge_namespace_file(link, rules_), place);
  }
}

// As in quotas/process_census.cpp: of the number in the payload's table, which may be another file by now, a
// descriptor of ours is made that opens nothing.
void Search::add_socket(const Task& task, int directory, int descriptor, uint64_t inode) {
  if (result_.sockets.contains(inode)) return;
  const UniqueFd own(::openat(directory, std::to_string(descriptor).c_str(), O_PATH | O_CLOEXEC));
  const std::string path = fmt::format("/proc/self/fd/{}", own.get());
  if (!own || object_number(link_text(AT_FDCWD, path), "socket") != inode) return;
  std::array<char, 64> protocol = {};
  const ssize_t size = ::getxattr(path.c_str(), "system.sockprotoname", protocol.data(), protocol.size() - 1);
  if (size <= 0) return;
  HeldSocket& socket = result_.sockets[inode];
  socket = {task.pid, descriptor, protocol.data()};
  add(task.pid, judge_protocol(socket.protocol), fmt::format("descriptor {}", descriptor));
}

// Reading its state takes no message. As with sockets, it may be another file by now.
void Search::add_queue(const Task& task, int directory, int descriptor, const HeldFile& seen) {
  const UniqueFd own(::openat(directory, std::to_string(descriptor).c_str(), O_PATH | O_CLOEXEC));
  const auto file = own ? look_at(own.get(), "", seen.link) : std::nullopt;
  if (!file || !is_message_queue(*file, rules_)) return;
  result_.has_queues = true;
  const UniqueFd queue(
      ::open(fmt::format("/proc/self/fd/{}", own.get()).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  std::array<char, 256> text;
  const ssize_t size = queue ? ::read(queue.get(), text.data(), text.size()) : -1;
  if (size > 0)
    add(task.pid, judge_queue({text.data(), static_cast<size_t>(size)}),
        fmt::format("descriptor {}", descriptor));
}

void Search::add_pipe(const Task& task, int information, int descriptor, const std::string& link) {
  const auto text = read_begin(information, std::to_string(descriptor), 4096).value_or("");
  const size_t at = text.find("flags:");
  if (at == std::string::npos) return;
  const long flags = std::strtol(text.c_str() + at + 6, nullptr, 8);
  if ((flags & O_DIRECT) != 0)
    add(task.pid,
        Finding{Severity::obstacle, "pipe of packets", "CRIU does not save pipes with O_DIRECT",
                "end what uses it"},
        fmt::format("descriptor {}", descriptor));
  PipeEnds& ends = pipes_[link];
  ends.process = task.pid;
  ends.descriptor = descriptor;
  ends.has_reader |= (flags & O_ACCMODE) != O_WRONLY;
  ends.has_writer |= (flags & O_ACCMODE) != O_RDONLY;
}

// Looks for the missing ends among the host's other processes, which is dear: only where one is missing.
void Search::find_other_ends() {
  std::erase_if(pipes_, [&](const auto& pipe) {
    return (pipe.second.has_reader && pipe.second.has_writer) || rules_.given_pipes.contains(pipe.first);
  });
  if (pipes_.empty()) return;
  each_number(UniqueFd(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), [&](int, int process) {
    if (tree_.contains(process) || process == ::getpid()) return true;
    each_number(open_process_directory(process, "fd"), [&](int descriptors, int descriptor) {
      const auto pipe = pipes_.find(link_text(descriptors, std::to_string(descriptor)));
      if (pipe == pipes_.end()) return true;
      add(pipe->second.process,
          Finding{Severity::warning, fmt::format("'{}'", pipe->first),
                  fmt::format("process {} of the host has its other end, which the saved one loses", process),
                  "end what uses it"},
          fmt::format("descriptor {}", pipe->second.descriptor));
      pipes_.erase(pipe);
      return true;
    });
    if (deadline_.is_over()) result_.is_complete = false;
    return result_.is_complete && !pipes_.empty();
  });
}

HeldFiles Search::run() {
  for (const Task& task : tree_.tasks) {
    if (deadline_.is_over()) result_.is_complete = false;
    if (!result_.is_complete) break;
    add_process(task);
  }
  if (semaphores_.size() > kMaxSemaphores)
    result_.findings.push_back(
        {0,
         {Severity::warning, fmt::format("{} eventfds (EFD_SEMAPHORE)", semaphores_.size()),
          fmt::format("of more than {} a restore makes plain ones, whose read takes the whole count",
                      kMaxSemaphores),
          "start their programs anew after a restore"}});
  if (result_.is_complete) find_other_ends();
  return std::move(result_);
}

}  // namespace

FileRules file_rules(const Tree& tree, const std::vector<MountNamespace>& mounts) {
  FileRules rules;
  utsname names = {};
  ::uname(&names);
  unsigned major = 0, minor = 0;
  const bool is_known = std::sscanf(names.release, "%u.%u", &major, &minor) == 2;
  rules.maps_show_layers = is_known && (major < 6 || (major == 6 && minor < 8));
  rules.mounts = index_mounts(mounts);
  for (const Task& task : tree.tasks)
    for (const auto& [type, number] : task.namespaces) rules.namespaces.insert(number);
  const UniqueFd memory(::memfd_create("holm", MFD_CLOEXEC));
  struct stat status = {};
  if (memory && ::fstat(memory.get(), &status) == 0) rules.shared_memory = status.st_dev;
  rules.has_huge_pages = has_huge_pages();
  return rules;
}

HeldFiles find_held_files(const Tree& tree, const FileRules& rules, const Deadline& deadline) {
  return Search(tree, rules, deadline).run();
}

}  // namespace holm::checkpoint
