#include "checkpoint/event_semaphores.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/criu_images.pb.h"
#include "checkpoint/image_file.h"
#include "checkpoint/process_status.h"
#include "checkpoint/rewrite_images.h"

namespace holm::checkpoint {
namespace {

// Kinds of files, by CRIU's numbers.
constexpr uint32_t kRegular = 1, kEvent = 6;
constexpr size_t kMaxFdinfo = 64 << 10;

std::string key_of(uint32_t file) { return fmt::format("eventfd-semaphore[{}]", file); }

bool has_events(const std::string& images) {
  return std::ranges::any_of(read_messages<images::File>(images + "/files.img"), &images::File::has_efd);
}

// Of a process that stands still: the descriptors that its image lists.
std::vector<images::Descriptor> descriptors_of(pid_t process, const std::string& images) {
  const auto pids = split_words(read_process_status(fmt::format("/proc/{}", process))["NSpid"]);
  const std::string ids = fmt::format("{}/ids-{}.img", images, pids.empty() ? "" : pids.back());
  if (!sys::exists(ids)) return {};  // a zombie
  const auto of_process = read_messages<images::NamespaceIds>(ids);
  const std::string list = fmt::format("{}/fdinfo-{}.img", images, of_process.at(0).files_id());
  if (!sys::exists(list)) return {};
  return read_messages<images::Descriptor>(list);
}

}  // namespace

std::optional<uint64_t> semaphore_number(std::string_view fdinfo) {
  std::optional<uint64_t> number;
  bool is_semaphore = false;
  for (const std::string& line : split(fdinfo, '\n')) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const auto value = parse_unsigned(trim(std::string_view(line).substr(colon + 1)));
    if (line.starts_with("eventfd-id:")) number = value;
    if (line.starts_with("eventfd-semaphore:")) is_semaphore = value == 1U;
  }
  return is_semaphore ? number : std::nullopt;
}

std::set<uint32_t> find_semaphores(const std::vector<pid_t>& processes, const std::string& images) {
  std::set<uint32_t> found;
  if (!has_events(images)) return found;
  for (const pid_t process : processes)
    for (const images::Descriptor& descriptor : descriptors_of(process, images)) {
      if (descriptor.type() != kEvent || found.contains(descriptor.id())) continue;
      const auto fdinfo =
          read_file_if_exists(fmt::format("/proc/{}/fdinfo/{}", process, descriptor.fd()), kMaxFdinfo);
      if (fdinfo && semaphore_number(*fdinfo)) found.insert(descriptor.id());
    }
  if (found.size() > kMaxSemaphores) found.clear();
  return found;
}

void name_semaphores(const std::string& images, const std::set<uint32_t>& files) {
  if (files.empty()) return;
  rewrite_each<images::Descriptor>(images, "fdinfo-", [&](images::Descriptor& descriptor) {
    if (descriptor.type() == kEvent && files.contains(descriptor.id())) descriptor.set_type(kRegular);
  });
  // What it was stays beside, for make_semaphores; CRIU looks at what the type says.
  rewrite_each<images::File>(images, "files.img", [&](images::File& file) {
    if (!file.has_efd() || !files.contains(file.id())) return;
    file.set_type(kRegular);
    images::RegularFile& given = *file.mutable_reg();
    given.set_id(file.id());
    given.set_flags(file.efd().flags());
    given.set_pos(0);
    given.set_fown(file.efd().fown());
    given.set_name("/" + key_of(file.id()));
  });
}

std::vector<EventSemaphore> make_semaphores(const std::string& images) {
  std::vector<EventSemaphore> made;
  for (const images::File& file : read_messages<images::File>(images + "/files.img")) {
    if (file.type() != kRegular || !file.has_efd()) continue;
    const std::string key = key_of(file.id());
    if (!file.has_reg() || file.reg().name() != "/" + key || made.size() == kMaxSemaphores)
      throw Error("the checkpoint's eventfds are damaged");
    const int flags = EFD_SEMAPHORE | EFD_CLOEXEC | (file.efd().flags() & O_NONBLOCK ? EFD_NONBLOCK : 0);
    UniqueFd fd(::eventfd(0, flags));
    if (!fd) throw Error::system("make an eventfd");
    const uint64_t count = file.efd().counter();
    if (count == UINT64_MAX) throw Error("the checkpoint's eventfds are damaged");
    if (count > 0) sys::write_all(fd.get(), {reinterpret_cast<const char*>(&count), sizeof count}, key);
    made.push_back({key, std::move(fd)});
  }
  return made;
}

}  // namespace holm::checkpoint
