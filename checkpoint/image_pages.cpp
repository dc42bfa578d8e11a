#include "checkpoint/image_pages.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "checkpoint/criu_images.pb.h"
#include "checkpoint/image_file.h"
#include "checkpoint/store.h"

namespace holm::checkpoint {
namespace {

enum PageFlags : uint32_t { kInParent = 1, kPresent = 4 };

Error damaged() { return Error("it is damaged: its pages are not those that its list names"); }

// How many pages the file has for the entry.
uint64_t pages_in_file(const images::PageRange& range, bool has_parent) {
  if (range.in_parent() || range.flags() & kInParent) {
    if (!has_parent) throw Error("it has pages in an earlier one, which is not there");
    return 0;
  }
  if (range.has_flags() && !(range.flags() & kPresent)) throw damaged();
  return range.has_nr_pages() ? range.nr_pages() : range.compat_nr_pages();
}

void check_list(const std::string& images, const std::string& name) {
  const ImageFile list = read_image(images + "/" + name);
  images::PageListHead head;
  if (list.messages.empty() || !head.ParseFromString(list.messages.front())) throw damaged();
  const bool has_parent = sys::exists(fmt::format("{}/parent/{}", images, name));
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto status = sys::stat_path(fmt::format("{}/pages-{}.img", images, head.pages_id()));
  const uint64_t size = status ? static_cast<uint64_t>(status->st_size) : 0;
  if (size % page != 0) throw damaged();
  uint64_t left = size / page;
  for (size_t i = 1; i < list.messages.size(); ++i) {
    images::PageRange range;
    if (!range.ParseFromString(list.messages[i])) throw damaged();
    const uint64_t count = pages_in_file(range, has_parent);
    if (count > left) throw damaged();
    left -= count;
  }
  if (left != 0) throw damaged();
}

}  // namespace

void check_pages(const std::string& images) {
  for (const std::string& level : image_levels(images))
    for (const std::string& name : list_directory(level))
      if (name.starts_with("pagemap-"))
        with_frame(fmt::format("the checkpoint's image '{}'", name), [&] { check_list(level, name); });
}

}  // namespace holm::checkpoint
