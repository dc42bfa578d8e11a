#include "checkpoint/queue_contents.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <mqueue.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/message_queues.pb.h"
#include "isolation/id_map.h"

namespace holm::checkpoint {
namespace {

constexpr std::string_view kNameOfRemoved = "holm-removed-";
constexpr mode_t kRights = 07777;
constexpr uint32_t kNobody = 65534;
constexpr std::chrono::seconds kPatience(10);

Error cannot_read(const std::string& queue) {
  return Error::system(fmt::format("read message queue '{}'", shortened(queue)));
}

// --- which there are

struct OpenQueue {
  UniqueFd fd;
  std::string name;
  bool is_removed = false;  // it had no name, and has this one for the restore
};

// Calls `visit` with a path and what statx(2) says of each descriptor that is a queue.
template <class Visit>
void each_open_queue(const quotas::Cgroup& cgroup, const QueueObjects& found, Visit&& visit) {
  if (!found.are_open || !found.mount) return;
  for (const pid_t process : cgroup.processes()) {
    const std::string directory = fmt::format("/proc/{}/fd", process);
    for (const std::string& number : list_directory(directory)) {
      const UniqueFd file(::open((directory + "/" + number).c_str(), O_PATH | O_CLOEXEC));
      struct statx status = {};
      constexpr int kAtOnce =
          AT_EMPTY_PATH | AT_STATX_DONT_SYNC;  // no FUSE server of the container's is asked
      constexpr unsigned kWanted = STATX_TYPE | STATX_INO | STATX_NLINK | STATX_MNT_ID;
      if (file && ::statx(file.get(), "", kAtOnce, kWanted, &status) == 0 && S_ISREG(status.stx_mode) &&
          ::makedev(status.stx_dev_major, status.stx_dev_minor) == found.mount->device)
        visit(fmt::format("/proc/self/fd/{}", file.get()), status);
    }
  }
}

// One descriptor of ours for each that a process has open and that has no name.
std::map<ino_t, UniqueFd> find_removed_queues(const quotas::Cgroup& cgroup, const QueueObjects& found) {
  std::map<ino_t, UniqueFd> removed;
  each_open_queue(cgroup, found, [&](const std::string& path, const struct statx& status) {
    if (status.stx_nlink == 0 && !removed.contains(status.stx_ino))
      removed[status.stx_ino] = sys::open(path, O_RDWR | O_NONBLOCK);
  });
  return removed;
}

std::vector<OpenQueue> open_all(int file_system, std::map<ino_t, UniqueFd> removed) {
  const std::unique_ptr<DIR, int (*)(DIR*)> list(
      ::fdopendir(sys::open_at(file_system, ".", O_RDONLY | O_DIRECTORY).release()), ::closedir);
  if (!list) throw Error::system("list message queues");
  std::vector<OpenQueue> queues;
  std::set<std::string> names;
  while (const dirent* entry = ::readdir(list.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    UniqueFd fd = sys::open_at(file_system, name, O_RDWR | O_NONBLOCK | O_NOFOLLOW);
    names.insert(name);
    queues.push_back({std::move(fd), name, false});
  }
  for (auto& [inode, fd] : removed) {
    std::string name = fmt::format("{}{}", kNameOfRemoved, inode);
    while (names.contains(name)) name += "x";
    queues.push_back({std::move(fd), name, true});
  }
  return queues;
}

// --- their messages, in memory that we and our child share: what one was doing the other can complete

struct Message {
  size_t at = 0;
  size_t size = 0;
  unsigned priority = 0;
};

struct Progress {
  size_t taken = 0;
  size_t returned = 0;
};

struct Contents {
  const OpenQueue* queue = nullptr;
  mq_attr attributes = {};
  uint64_t bytes = 0;  // of all messages
  size_t count = 0;
  char* data = nullptr;  // behind it is room for a message of the greatest size
  Message* messages = nullptr;
  Progress* progress = nullptr;

  bool are_back() const { return progress->returned == count; }
};

QueueState read_state(const OpenQueue& queue) {
  char text[256];
  const ssize_t size = ::pread(queue.fd.get(), text, sizeof text, 0);
  if (size < 0) throw cannot_read(queue.name);
  return parse_queue_state(std::string(text, static_cast<size_t>(size)));
}

// Before the first message of any is taken.
std::vector<Contents> measure(const std::vector<OpenQueue>& queues) {
  constexpr uint64_t kOfMessage = 32, kOfQueue = 512;  // what their encoding takes at most
  std::vector<Contents> all;
  uint64_t bytes = 0;
  for (const OpenQueue& queue : queues) {
    Contents contents;
    contents.queue = &queue;
    if (::mq_getattr(queue.fd.get(), &contents.attributes) != 0) throw cannot_read(queue.name);
    const QueueState state = read_state(queue);
    contents.bytes = state.bytes;
    contents.count = static_cast<size_t>(contents.attributes.mq_curmsgs);
    if (state.notified != 0)
      throw Error(fmt::format("a process awaits a notification of message queue '{}' (mq_notify), which "
                              "cannot be saved",
                              shortened(queue.name)))
          .hint("try again when it has come, or end that process");
    bytes += contents.bytes + contents.count * kOfMessage + kOfQueue;
    all.push_back(contents);
  }
  if (bytes > kMaxQueued)
    throw Error(
        fmt::format("its message queues need {} bytes, and a checkpoint can have {}", bytes, kMaxQueued));
  return all;
}

// A message that is taken has room, whatever its size: that of all is behind the last queue's.
class SharedMemory {
 public:
  explicit SharedMemory(std::vector<Contents>& all) : size_(size_for(all)) {
    begin_ = static_cast<char*>(
        ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
    if (begin_ == MAP_FAILED) throw Error::system("get memory for message queues");
    auto* progress = reinterpret_cast<Progress*>(begin_);
    auto* messages = reinterpret_cast<Message*>(progress + all.size());
    for (Contents& contents : all) {
      contents.progress = new (progress++) Progress;
      contents.messages = messages;
      messages += contents.count;
    }
    auto* data = reinterpret_cast<char*>(messages);
    for (Contents& contents : all) {
      contents.data = data;
      data += contents.bytes;
    }
  }
  ~SharedMemory() { ::munmap(begin_, size_); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // So that a child of ours waits for no memory, either: its tables of pages are its own.
  void touch() const {
    ::mlock(begin_, size_);
    volatile char* bytes = begin_;
    for (size_t at = 0; at < size_; at += kPage) bytes[at] = bytes[at];
  }

 private:
  static constexpr size_t kPage = 4096;

  static size_t size_for(const std::vector<Contents>& all) {
    size_t size = 1, greatest = 0;
    for (const Contents& contents : all) {
      size += sizeof(Progress) + contents.count * sizeof(Message) + contents.bytes;
      greatest = std::max(greatest, static_cast<size_t>(contents.attributes.mq_msgsize));
    }
    return size + greatest;
  }

  size_t size_;
  char* begin_;
};

// Both go on where they were, and answer false where the kernel refuses. They make system calls alone.
bool take_out(const Contents& contents) {
  Progress& progress = *contents.progress;
  while (progress.taken < contents.count) {
    Message& message = contents.messages[progress.taken];
    message.at = progress.taken == 0 ? 0 : (&message)[-1].at + (&message)[-1].size;
    if (message.at > contents.bytes) return false;  // somebody outside has the queue, too
    const ssize_t size = ::mq_receive(contents.queue->fd.get(), contents.data + message.at,
                                      static_cast<size_t>(contents.attributes.mq_msgsize), &message.priority);
    if (size < 0) return false;
    message.size = static_cast<size_t>(size);
    ++progress.taken;
  }
  return true;
}

bool put_back(const Contents& contents) {
  Progress& progress = *contents.progress;
  while (progress.returned < progress.taken) {
    const Message& message = contents.messages[progress.returned];
    if (::mq_send(contents.queue->fd.get(), contents.data + message.at, message.size, message.priority) != 0)
      return false;
    ++progress.returned;
  }
  return true;
}

// What was done last may not have been noted by who was killed: the kernel knows. Never beyond what was
// measured, should somebody outside have the queue, too.
void correct_progress(const Contents& contents) {
  Progress& progress = *contents.progress;
  mq_attr now = {};
  if (::mq_getattr(contents.queue->fd.get(), &now) != 0) throw cannot_read(contents.queue->name);
  const auto in_queue = static_cast<size_t>(now.mq_curmsgs);
  if (progress.taken == contents.count) {
    progress.returned = std::min(in_queue, contents.count);
    return;
  }
  if (in_queue + progress.taken >= contents.count) return;
  Message& last = contents.messages[progress.taken];  // its content and priority are there
  const uint64_t left = read_state(*contents.queue).bytes + last.at;
  last.size = left < contents.bytes ? contents.bytes - left : 0;
  ++progress.taken;
}

// Until there is no more hope; whether it was done.
bool complete(const Contents& contents, std::chrono::steady_clock::time_point end) {
  while (!(take_out(contents) && put_back(contents))) {
    if (std::chrono::steady_clock::now() > end) {
      put_back(contents);  // what is out, though it is not all
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

void move_as_container(const std::vector<Contents>& all, const SharedMemory& memory,
                       const quotas::Cgroup& cgroup, pid_t parent) {
  ::setsid();  // who kills our group does not mean this one
  sigset_t signals;
  ::sigfillset(&signals);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  memory.touch();
  ignore_errors([&] {  // then the memory is ours
    // Where the container's memory is short it is this one that is killed; the parent completes its work.
    write_control_file("/proc/self/oom_score_adj", "1000");
    if (!cgroup.is_frozen()) cgroup.enter_self();
  });
  const auto end = std::chrono::steady_clock::now() + kPatience;
  for (const Contents& contents : all) {
    if (::getppid() != parent) return;  // nobody wants to know any more
    bool is_done = take_out(contents);
    fault_point("put messages back");
    is_done = is_done && put_back(contents);
    if (is_done) continue;
    if (::getppid() == parent) return;  // which can do it without the container's limits
    complete(contents, end);
  }
}

// Where it does not end in time it is killed.
void await_child(pid_t child) {
  try {
    const UniqueFd process = sys::pidfd_open(child);
    sys::pidfd_wait_ended(process.get(), kPatience);
    kill_and_reap(process.get());
  } catch (const Error&) {  // no descriptor is left
    ::kill(child, SIGKILL);
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

void move_all(const std::vector<Contents>& all, const SharedMemory& memory, const quotas::Cgroup& cgroup) {
  const pid_t own = ::getpid(), child = ::fork();
  if (child == 0) {
    ignore_errors([&] { move_as_container(all, memory, cgroup, own); });
    ::_exit(0);
  }
  if (child > 0) {
    await_child(child);
    cgroup.remove_entry_of(child);
  }
  const auto end = std::chrono::steady_clock::now() + kPatience;
  size_t lost = 0;
  bool is_done = true;
  for (const Contents& contents : all) {
    if (contents.are_back()) continue;
    ignore_errors([&] { correct_progress(contents); });  // a queue that tells nothing takes nothing, either
    is_done = complete(contents, end) && is_done;
    lost += contents.progress->taken - contents.progress->returned;
  }
  if (lost > 0) throw Error(fmt::format("{} messages could not be put back into their queues", lost));
  if (!is_done) throw Error("its message queues could not be read");
}

// --- what is saved of them

uint32_t id_in_container(uint32_t id, uint32_t first_id) {
  if (first_id == 0) return id;
  return id >= first_id && id - first_id < isolation::kIdsPerContainer ? id - first_id : kNobody;
}

saved::Queue to_save(const Contents& contents, uint32_t first_id) {
  const OpenQueue& queue = *contents.queue;
  const struct stat status = sys::stat_fd(queue.fd.get(), queue.name);
  saved::Queue saved;
  saved.set_name(queue.name);
  saved.set_is_removed(queue.is_removed);
  saved.set_inode(status.st_ino);
  saved.set_mode(status.st_mode & kRights);
  saved.set_uid(id_in_container(status.st_uid, first_id));
  saved.set_gid(id_in_container(status.st_gid, first_id));
  saved.set_max_messages(contents.attributes.mq_maxmsg);
  saved.set_max_size(contents.attributes.mq_msgsize);
  for (size_t i = 0; i < contents.count; ++i) {
    saved::Message& added = *saved.add_messages();
    added.set_priority(contents.messages[i].priority);
    added.set_content(contents.data + contents.messages[i].at, contents.messages[i].size);
  }
  return saved;
}

}  // namespace

std::vector<std::string> queue_file_externals(const quotas::Cgroup& cgroup, const QueueObjects& found) {
  std::set<std::string> externals;
  each_open_queue(cgroup, found, [&](const std::string&, const struct statx& status) {
    externals.insert(queue_file_external(status.stx_mnt_id, status.stx_ino));
  });
  return {externals.begin(), externals.end()};
}

std::vector<saved::Queue> save_queues(int file_system, const quotas::Cgroup& cgroup,
                                      const QueueObjects& found, uint32_t first_id) {
  const std::vector<OpenQueue> queues = open_all(file_system, find_removed_queues(cgroup, found));
  if (queues.empty()) return {};
  std::vector<Contents> all = measure(queues);
  const SharedMemory memory(all);
  move_all(all, memory, cgroup);
  std::vector<saved::Queue> saved;
  for (const Contents& contents : all) saved.push_back(to_save(contents, first_id));
  return saved;
}

}  // namespace holm::checkpoint
