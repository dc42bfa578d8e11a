#include "checkpoint/message_queues.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/container_child.h"
#include "checkpoint/criu_images.pb.h"
#include "checkpoint/image_file.h"
#include "checkpoint/message_queues.pb.h"
#include "checkpoint/rewrite_images.h"
#include "isolation/mount_api.h"

namespace holm::checkpoint {
namespace {

constexpr const char* kImage = "message-queues.img";
constexpr const char* kMagic = "HMQ1";
constexpr std::string_view kMountKey = "queues";
constexpr std::string_view kFileKey = "file[";
constexpr std::string_view kNameOfRemoved = "holm-removed-";
constexpr size_t kMaxName = 255;
constexpr size_t kMaxQueues = 65536;
constexpr mode_t kRights = 07777;

std::string image_path(const std::string& images) { return images + "/" + kImage; }

// --- saving

// A queue by any descriptor of it.
struct OpenQueue {
  UniqueFd fd;
  std::string name;
  bool is_removed = false;
};

// Whether no queue has a name. Each makes the directory 20 bytes larger, which an empty one has twice (the
// kernel's ipc/mqueue.c).
bool is_known_empty(pid_t init, const QueueObjects::Mount& mount) {
  constexpr uint64_t kEmpty = 40;
  bool is_empty = false;
  ignore_errors([&] {  // then it is looked at from inside
    const UniqueFd root = sys::open(fmt::format("/proc/{}/root", init), O_PATH | O_DIRECTORY);
    const UniqueFd place = sys::open_confined(root.get(), mount.point, O_PATH, sys::Confine::in_root_cached);
    struct statx status = {};
    is_empty = ::statx(place.get(), "", AT_EMPTY_PATH, STATX_SIZE | STATX_MNT_ID, &status) == 0 &&
               status.stx_mnt_id == mount.id && status.stx_size <= kEmpty;
  });
  return is_empty;
}

// Calls `visit` with a path and what statx(2) says of each descriptor that is a queue.
template <class Visit>
void each_open_queue(const std::vector<pid_t>& processes, dev_t device, Visit&& visit) {
  for (const pid_t process : processes) {
    const std::string directory = fmt::format("/proc/{}/fd", process);
    for (const std::string& number : list_directory(directory)) {
      const UniqueFd file(::open((directory + "/" + number).c_str(), O_PATH | O_CLOEXEC));
      struct statx status = {};
      constexpr int kAtOnce =
          AT_EMPTY_PATH | AT_STATX_DONT_SYNC;  // no FUSE server of the container's is asked
      if (file && ::statx(file.get(), "", kAtOnce, STATX_TYPE | STATX_INO | STATX_MNT_ID, &status) == 0 &&
          S_ISREG(status.stx_mode) && ::makedev(status.stx_dev_major, status.stx_dev_minor) == device)
        visit(fmt::format("/proc/self/fd/{}", file.get()), status);
    }
  }
}

// One descriptor of ours for each that a process has open.
std::map<ino_t, UniqueFd> find_open_queues(const std::vector<pid_t>& processes, const QueueObjects& found) {
  std::map<ino_t, UniqueFd> open;
  if (!found.are_open || !found.mount) return open;
  each_open_queue(processes, found.mount->device, [&](const std::string& path, const struct statx& status) {
    if (!open.contains(status.stx_ino)) open[status.stx_ino] = sys::open(path, O_RDWR | O_NONBLOCK);
  });
  return open;
}

std::vector<OpenQueue> open_all(std::map<ino_t, UniqueFd> open) {
  const UniqueFd directory =
      isolation::make_file_system("mqueue", {}, isolation::kReadWrite, "message queues");
  const std::unique_ptr<DIR, int (*)(DIR*)> list(
      ::fdopendir(sys::open_at(directory.get(), ".", O_RDONLY | O_DIRECTORY).release()), ::closedir);
  if (!list) throw Error::system("list message queues");
  std::vector<OpenQueue> queues;
  std::set<std::string> names;
  while (const dirent* entry = ::readdir(list.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    UniqueFd fd = sys::open_at(directory.get(), name, O_RDWR | O_NONBLOCK | O_NOFOLLOW);
    open.erase(sys::stat_fd(fd.get(), name).st_ino);
    names.insert(name);
    queues.push_back({std::move(fd), name, false});
  }
  for (auto& [inode, fd] : open) {
    std::string name = fmt::format("{}{}", kNameOfRemoved, inode);
    while (names.contains(name)) name += "x";
    queues.push_back({std::move(fd), name, true});
  }
  return queues;
}

QueueState read_state(const OpenQueue& queue) {
  char text[256];
  const ssize_t size = ::pread(queue.fd.get(), text, sizeof text, 0);
  if (size < 0) throw Error::system(fmt::format("read message queue '{}'", shortened(queue.name)));
  return parse_queue_state(std::string(text, static_cast<size_t>(size)));
}

// Before the first message of any is taken.
void require_savable(const std::vector<OpenQueue>& queues) {
  uint64_t bytes = 0;
  for (const OpenQueue& queue : queues) {
    const QueueState state = read_state(queue);
    bytes += state.bytes;
    if (state.notified != 0)
      throw Error(fmt::format("a process awaits a notification of message queue '{}' (mq_notify), which "
                              "cannot be saved",
                              shortened(queue.name)))
          .hint("try again when it has come, or end that process");
  }
  if (bytes > kMaxQueued)
    throw Error(
        fmt::format("its message queues hold {} bytes, and a checkpoint can have {}", bytes, kMaxQueued));
}

struct TakenMessage {
  size_t at = 0;
  size_t size = 0;
  unsigned priority = 0;
};

void put_back(const OpenQueue& queue, const char* content, const TakenMessage& message) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (::mq_send(queue.fd.get(), content, message.size, message.priority) != 0) {
    if (std::chrono::steady_clock::now() > end)
      throw Error::system(fmt::format("put a message back into queue '{}'", shortened(queue.name)));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// The kernel shows a message only to who takes it. Memory is there first: what was taken is nowhere else.
void save_messages(const OpenQueue& queue, const mq_attr& attributes, saved::Queue& saved) {
  std::vector<char> buffer(read_state(queue).bytes + static_cast<size_t>(attributes.mq_msgsize));
  std::vector<TakenMessage> taken;
  taken.reserve(static_cast<size_t>(attributes.mq_curmsgs));
  std::optional<Error> failure;
  for (size_t at = 0; taken.size() < taken.capacity();) {
    unsigned priority = 0;
    const ssize_t size = ::mq_receive(queue.fd.get(), &buffer[at], buffer.size() - at, &priority);
    if (size < 0) {
      failure = Error::system(fmt::format("read message queue '{}'", shortened(queue.name)));
      break;
    }
    taken.push_back({at, static_cast<size_t>(size), priority});
    at += static_cast<size_t>(size);
  }
  for (const TakenMessage& message : taken) put_back(queue, &buffer[message.at], message);
  if (failure) throw *failure;
  for (const TakenMessage& message : taken) {
    saved::Message& added = *saved.add_messages();
    added.set_priority(message.priority);
    added.set_content(&buffer[message.at], message.size);
  }
}

saved::Queue save_queue(const OpenQueue& queue) {
  const struct stat status = sys::stat_fd(queue.fd.get(), queue.name);
  mq_attr attributes = {};
  if (::mq_getattr(queue.fd.get(), &attributes) != 0)
    throw Error::system(fmt::format("read message queue '{}'", shortened(queue.name)));
  saved::Queue saved;
  saved.set_name(queue.name);
  saved.set_is_removed(queue.is_removed);
  saved.set_inode(status.st_ino);
  saved.set_mode(status.st_mode & kRights);
  saved.set_uid(status.st_uid);
  saved.set_gid(status.st_gid);
  saved.set_max_messages(attributes.mq_maxmsg);
  saved.set_max_size(attributes.mq_msgsize);
  save_messages(queue, attributes, saved);
  return saved;
}

// Nobody is to come between a message's taking and its coming back.
void ignore_signals() {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, nullptr);
  spare_when_memory_is_short();
}

// --- restoring

bool is_possible(const saved::Queue& queue) {
  const std::string& name = queue.name();
  return !name.empty() && name.size() <= kMaxName && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos &&
         (queue.mode() & ~kRights) == 0 && queue.max_messages() > 0 && queue.max_size() > 0 &&
         queue.messages_size() <= queue.max_messages() &&
         std::ranges::all_of(queue.messages(), [&](const saved::Message& message) {
           return message.content().size() <= static_cast<uint64_t>(queue.max_size()) &&
                  message.priority() < MQ_PRIO_MAX;
         });
}

std::vector<saved::Queue> read_queues(const std::string& images) {
  const std::string path = image_path(images);
  if (!sys::exists(path)) return {};
  const ImageFile image = read_image(path);
  if (image.messages.size() > kMaxQueues) throw Error("the checkpoint has too many message queues");
  std::vector<saved::Queue> queues;
  for (const std::string& bytes : image.messages)
    if (!queues.emplace_back().ParseFromString(bytes) || !is_possible(queues.back()))
      throw Error(
          fmt::format("message queue '{}' of the checkpoint is none", shortened(queues.back().name())));
  return queues;
}

// As its owner, by whose limits it counts.
UniqueFd make_queue(const saved::Queue& queue) {
  mq_attr attributes = {};
  attributes.mq_maxmsg = queue.max_messages();
  attributes.mq_msgsize = queue.max_size();
  if (::setresgid(queue.gid(), queue.gid(), 0) != 0 || ::setresuid(queue.uid(), queue.uid(), 0) != 0)
    throw Error::system("become its owner");
  UniqueFd made(::mq_open(("/" + queue.name()).c_str(), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC,
                          queue.mode(), &attributes));
  const int error_number = errno;
  if (::setresuid(0, 0, 0) != 0 || ::setresgid(0, 0, 0) != 0) throw Error::system("become root again");
  if (!made) throw Error::system(error_number, "make it");
  sys::chmod_fd(made.get(), queue.mode(), queue.name());
  return made;
}

void fill_queue(const saved::Queue& queue) {
  with_frame(fmt::format("message queue '{}'", shortened(queue.name())), [&] {
    const UniqueFd made = make_queue(queue);
    for (const saved::Message& message : queue.messages())
      if (::mq_send(made.get(), message.content().data(), message.content().size(), message.priority()) != 0)
        throw Error::system("fill it");
  });
}

}  // namespace

std::string queue_mount_external(const std::string& point) {
  return fmt::format("mnt[{}]:{}", point, kMountKey);
}

std::string queue_file_external(uint64_t mount_id, uint64_t inode) {
  return fmt::format("{}{:x}:{:x}]", kFileKey, mount_id, inode);
}

QueueState parse_queue_state(const std::string& text) {
  QueueState state;
  for (const std::string& word : split_words(text)) {
    const size_t colon = word.find(':');
    if (colon == std::string::npos) continue;
    const auto value = parse_unsigned(std::string_view(word).substr(colon + 1)).value_or(0);
    if (word.starts_with("QSIZE:")) state.bytes = value;
    if (word.starts_with("NOTIFY_PID:")) state.notified = static_cast<pid_t>(value);
  }
  return state;
}

std::vector<std::string> queue_file_externals(const std::vector<pid_t>& processes,
                                              const QueueObjects& found) {
  std::set<std::string> externals;
  if (found.are_open && found.mount)
    each_open_queue(processes, found.mount->device, [&](const std::string&, const struct statx& status) {
      externals.insert(queue_file_external(status.stx_mnt_id, status.stx_ino));
    });
  return {externals.begin(), externals.end()};
}

void save_queues(pid_t init, const quotas::Cgroup& cgroup, const QueueObjects& found,
                 const std::string& images) {
  if (!found.are_open && found.mount && is_known_empty(init, *found.mount)) return;
  std::map<ino_t, UniqueFd> open = find_open_queues(cgroup.processes(), found);
  const ContainerNamespaces namespaces(init, "ipc");
  const std::string answer = in_child("save message queues", [&] {
    ignore_signals();
    if (!cgroup.is_frozen()) cgroup.enter_self();  // the messages' memory is the container's
    namespaces.enter();
    sys::unshare(CLONE_NEWNS, "mounts to see message queues in");
    const std::vector<OpenQueue> queues = open_all(std::move(open));
    require_savable(queues);
    ImageFile image{kMagic, {}};
    for (const OpenQueue& queue : queues) image.messages.push_back(save_queue(queue).SerializeAsString());
    return encode_image(image);
  });
  if (answer.size() > std::string_view(kMagic).size()) replace_file(image_path(images), answer);
}

void check_queues(const std::string& images) { read_queues(images); }

void make_queues(const std::string& images, pid_t process, const quotas::Cgroup& cgroup) {
  const std::vector<saved::Queue> queues = read_queues(images);
  if (queues.empty()) return;
  const ContainerNamespaces namespaces(process, "ipc");
  in_child("make message queues", [&] {
    cgroup.enter_self();  // the messages' memory is the container's
    const rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_MSGQUEUE, &unlimited);  // they were made by other processes' limits
    namespaces.enter();
    ::umask(0);
    for (const saved::Queue& queue : queues) fill_queue(queue);
    return std::string();
  });
}

void remove_names_of_queues(const std::string& images, pid_t process) {
  std::vector<saved::Queue> queues = read_queues(images);
  std::erase_if(queues, [](const saved::Queue& queue) { return !queue.is_removed(); });
  if (queues.empty()) return;
  const ContainerNamespaces namespaces(process, "ipc");
  in_child("remove names of message queues", [&] {
    namespaces.enter();
    for (const saved::Queue& queue : queues)
      if (::mq_unlink(("/" + queue.name()).c_str()) != 0)
        throw Error::system(fmt::format("remove message queue '{}'", shortened(queue.name())));
    return std::string();
  });
}

// --- what the images say of them

namespace {

// The mount by whose path they are opened again.
struct Place {
  uint32_t mount = 0;
  std::string point;
};

std::optional<Place> rewrite_mounts(const std::string& images) {
  std::optional<Place> place;
  images::NamespaceIds ids;
  if (!ids.ParseFromString(read_first_message(images + "/ids-1.img"))) throw Error("'ids-1.img' is damaged");
  const std::string of_init = fmt::format("mountpoints-{}.img", ids.mnt_ns_id());
  rewrite_each<images::Mount>(images, of_init, [&](images::Mount& mount) {
    if (mount.ext_key() == kMountKey && mount.root() == "/" && !place)
      place = Place{mount.mnt_id(), mount.mountpoint()};
  });
  rewrite_each<images::Mount>(images, "mountpoints-", [](images::Mount& mount) {
    if (mount.ext_key() == kMountKey) mount.clear_ext_key();
  });
  return place;
}

// By the name that CRIU has for its file: "file[1f:2b]".
std::optional<uint64_t> inode_of(const images::RegularFile& file) {
  if (!file.ext() || !file.name().starts_with(kFileKey) || !file.name().ends_with("]")) return std::nullopt;
  const size_t colon = file.name().find(':');
  if (colon == std::string::npos) return std::nullopt;
  return std::strtoull(file.name().c_str() + colon + 1, nullptr, 16);
}

}  // namespace

void name_queues(const std::string& images) {
  const std::optional<Place> place = rewrite_mounts(images);
  std::map<uint64_t, std::string> names;
  for (const saved::Queue& queue : read_queues(images)) names[queue.inode()] = queue.name();
  rewrite_each<images::File>(images, "files.img", [&](images::File& file) {
    const auto inode = file.has_reg() ? inode_of(file.reg()) : std::nullopt;
    if (!inode) return;
    const auto name = names.find(*inode);
    if (name == names.end() || !place) throw Error("a message queue that is open was not saved");
    images::RegularFile& opened = *file.mutable_reg();
    opened.set_name(fmt::format("{}/{}", place->point, name->second));
    opened.set_mnt_id(static_cast<int32_t>(place->mount));
    opened.clear_ext();
  });
}

}  // namespace holm::checkpoint
