#include "checkpoint/message_queues.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <map>

#include "base/error.h"
#include "base/namespace_thread.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/container_child.h"
#include "checkpoint/criu_images.pb.h"
#include "checkpoint/image_file.h"
#include "checkpoint/message_queues.pb.h"
#include "checkpoint/rewrite_images.h"
#include "isolation/mount_api.h"
#include "isolation/resource_limits.h"

namespace holm::checkpoint {
namespace {

constexpr const char* kImage = "message-queues.img";
constexpr const char* kMagic = "HMQ1";
constexpr std::string_view kMountKey = "queues";
constexpr std::string_view kFileKey = "file[";
constexpr uint32_t kMqueue = 14;  // by CRIU's numbers of file systems
constexpr size_t kMaxName = 255;
constexpr size_t kMaxQueues = 65536;
constexpr mode_t kRights = 07777;

std::string image_path(const std::string& images) { return images + "/" + kImage; }

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

UniqueFd open_queue_file_system(pid_t process) {
  const UniqueFd ipc = sys::open(fmt::format("/proc/{}/ns/ipc", process), O_RDONLY);
  return in_namespace(ipc.get(), CLONE_NEWIPC, "the container's IPC namespace", [] {
    try {
      return isolation::make_file_system("mqueue", {}, isolation::kReadWrite, "message queues");
    } catch (const Error& error) {
      if (error.error_number() == ENODEV) return UniqueFd();
      throw;
    }
  });
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

void write_queues(const std::string& images, const std::vector<saved::Queue>& queues) {
  ImageFile image{kMagic, {}};
  for (const saved::Queue& queue : queues) image.messages.push_back(queue.SerializeAsString());
  if (!queues.empty()) write_image(image_path(images), image);
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

void make_queues(const std::vector<saved::Queue>& queues, pid_t process, const quotas::Cgroup& cgroup) {
  if (queues.empty()) return;
  const ContainerNamespaces namespaces(process, "ipc");
  in_child("make message queues", [&] {
    cgroup.enter_self();                             // the messages' memory is the container's
    const isolation::UnlimitedNamespaces unlimited;  // they were made by other processes' limits
    namespaces.enter();
    ::umask(0);
    for (const saved::Queue& queue : queues) fill_queue(queue);
  });
}

void remove_names_of_queues(const std::vector<saved::Queue>& queues, pid_t process) {
  if (std::ranges::none_of(queues, &saved::Queue::is_removed)) return;
  const UniqueFd file_system = open_queue_file_system(process);
  for (const saved::Queue& queue : queues)
    if (queue.is_removed() && ::unlinkat(file_system.get(), queue.name().c_str(), 0) != 0)
      throw Error::system(fmt::format("remove message queue '{}'", shortened(queue.name())));
}

// --- what the images say of them

namespace {

// By the name that CRIU has for its file: "file[1f:2b]".
std::optional<uint64_t> inode_of(const images::RegularFile& file) {
  if (!file.ext() || !file.name().starts_with(kFileKey) || !file.name().ends_with("]")) return std::nullopt;
  const size_t colon = file.name().find(':');
  if (colon == std::string::npos) return std::nullopt;
  return std::strtoull(file.name().c_str() + colon + 1, nullptr, 16);
}

}  // namespace

void name_queues(const std::string& images, const QueueObjects& found) {
  rewrite_each<images::Mount>(images, "mountpoints-", [](images::Mount& mount) {
    if (mount.ext_key() != kMountKey) return;
    if (mount.fstype() != kMqueue)
      throw Error(fmt::format("another mount than message queues was passed over at '{}'",
                              shortened(mount.mountpoint())))
          .hint("try again");
    mount.clear_ext_key();
  });
  std::map<uint64_t, std::string> names;
  for (const saved::Queue& queue : read_queues(images)) names[queue.inode()] = queue.name();
  rewrite_each<images::File>(images, "files.img", [&](images::File& file) {
    const auto inode = file.has_reg() ? inode_of(file.reg()) : std::nullopt;
    if (!inode) return;
    const auto name = names.find(*inode);
    if (name == names.end() || !found.mount) throw Error("a message queue that is open was not saved");
    images::RegularFile& opened = *file.mutable_reg();
    opened.set_name(fmt::format("{}/{}", found.mount->point, name->second));
    opened.set_mnt_id(static_cast<int32_t>(found.mount->id));
    opened.clear_ext();
  });
}

}  // namespace holm::checkpoint
