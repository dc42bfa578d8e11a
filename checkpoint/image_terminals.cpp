#include "checkpoint/image_terminals.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/sys.h"
#include "checkpoint/criu_images.pb.h"
#include "checkpoint/external_objects.h"
#include "checkpoint/image_file.h"
#include "checkpoint/rewrite_images.h"

namespace holm::checkpoint {
namespace {

constexpr uint32_t kTtyFile = 11;     // of a descriptor's kinds
constexpr uint32_t kFromOutside = 5;  // of a terminal's kinds

// What a process has open by its descriptors, as ids of files.
struct Holder {
  uint32_t pid = 0;
  uint32_t session = 0;
  std::vector<uint32_t> files;
};

std::vector<Holder> read_holders(const std::string& images) {
  std::vector<Holder> holders;
  for (const auto& process : read_messages<images::Process>(images + "/pstree.img")) {
    Holder holder{process.pid(), process.sid(), {}};
    const std::string ids = fmt::format("{}/ids-{}.img", images, process.pid());
    if (!sys::exists(ids)) continue;  // a zombie
    const auto of_process = read_messages<images::NamespaceIds>(ids);
    const std::string list = fmt::format("{}/fdinfo-{}.img", images, of_process.at(0).files_id());
    if (!sys::exists(list)) continue;
    for (const auto& descriptor : read_messages<images::Descriptor>(list))
      if (descriptor.type() == kTtyFile) holder.files.push_back(descriptor.id());
    holders.push_back(std::move(holder));
  }
  return holders;
}

class Terminals {
 public:
  explicit Terminals(const std::string& images)
      : images_(images), infos_(read_messages<images::Terminal>(images + "/tty-info.img")) {
    for (const auto& file : read_messages<images::File>(images + "/files.img"))
      if (file.has_tty()) files_[file.id()] = file.tty();
  }

  // False where there is nothing to do.
  bool assign() {
    for (const Holder& holder : read_holders(images_))
      for (const uint32_t file : holder.files)
        if (const auto found = files_.find(file); found != files_.end() && is_own(found->second.info()))
          assign_file(found->second, holder);
    return !done_.empty();
  }

  void write() const {
    rewrite_each<images::File>(images_, "files.img", [&](images::File& file) {
      if (done_.contains(file.id())) *file.mutable_tty() = files_.at(file.id());
    });
    const std::string path = images_ + "/tty-info.img";
    ImageFile image = read_image(path);
    image.messages.clear();
    for (const images::Terminal& info : infos_)
      if (!is_own(info.id())) image.messages.push_back(info.SerializeAsString());
    write_image(path, image);
  }

 private:
  images::Terminal* find(uint32_t id) {
    const auto found = std::ranges::find(infos_, id, [](const auto& info) { return info.id(); });
    return found == infos_.end() ? nullptr : &*found;
  }
  bool is_own(uint32_t id) const {
    return std::ranges::any_of(
        infos_, [&](const auto& info) { return info.id() == id && info.rdev() == kOwnTerminalDevice; });
  }

  // Even ids are those of the ends that programs have as their terminal, odd ones of the other ends.
  images::Terminal* terminal_of(const Holder& holder) {
    const auto is_usable = [](const images::Terminal& info) {
      return info.rdev() != kOwnTerminalDevice && info.id() % 2 == 0;
    };
    for (images::Terminal& info : infos_)
      if (is_usable(info) && info.sid() == holder.session) return &info;
    for (const uint32_t file : holder.files)
      if (images::Terminal* info = find(files_[file].info()); info && is_usable(*info)) return info;
    return nullptr;
  }

  void assign_file(images::TerminalFile& file, const Holder& holder) {
    const images::Terminal* terminal = terminal_of(holder);
    if (!terminal)
      throw Error(
          fmt::format("process {} of the container has /dev/tty open and nothing else of its terminal",
                      holder.pid))
          .hint("end the program, or start it so that its standard streams are its terminal");
    done_.insert(file.id());
    if (terminal->type() == kFromOutside) {
      images::Terminal* own = find(file.info());
      own->set_rdev(terminal->rdev());
      own->set_dev(terminal->dev());
      return;
    }
    // One more opening of that end, by the name that another one had.
    const auto other = std::ranges::find_if(
        files_, [&](const auto& entry) { return entry.second.info() == terminal->id(); });
    if (other == files_.end()) throw Error("its list of terminals is damaged");
    file.set_info(terminal->id());
    file.set_regf_id(other->second.regf_id());
  }

  std::string images_;
  std::vector<images::Terminal> infos_;
  std::map<uint32_t, images::TerminalFile> files_;
  std::set<uint32_t> done_;
};

}  // namespace

void name_terminals_of_sessions(const std::string& images) {
  if (!sys::exists(images + "/tty-info.img")) return;
  Terminals terminals(images);
  if (terminals.assign()) terminals.write();
}

}  // namespace holm::checkpoint
