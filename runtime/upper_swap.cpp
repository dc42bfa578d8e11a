#include "runtime/upper_swap.h"

#include <fmt/core.h>
#include <unistd.h>

#include "base/step.h"
#include "base/sys.h"

namespace holm::runtime {
namespace {

std::string upper_of(const Paths& paths, const std::string& name, const char* suffix = "") {
  return fmt::format("{}/upper{}", paths.container(name), suffix);
}

// overlayfs's own, which knows the files of an upper directory by their inodes.
void make_work_anew(const Paths& paths, const std::string& name, const struct stat& upper) {
  const std::string work = paths.container(name) + "/work";
  sys::remove_tree(work);
  sys::make_directory(work, 0755);
  sys::chown_path(work, upper.st_uid, upper.st_gid);
}

}  // namespace

std::string make_new_upper(const Paths& paths, const StoredContainer& container) {
  const std::string upper = upper_of(paths, container.name, fmt::format(".{}.new", ::getpid()).c_str());
  const uint32_t owner = container.config.spec.security.user_namespace ? container.identity.ids.first : 0;
  sys::remove_tree(upper);
  sys::make_directory(upper, 0755);
  sys::chown_path(upper, owner, owner);
  return upper;
}

void put_upper_in_place(const Paths& paths, const StoredContainer& container, const std::string& upper) {
  const std::string place = upper_of(paths, container.name);
  const struct stat status = sys::stat_path(upper).value();
  step("put the old files aside", [&] { sys::rename(place, upper_of(paths, container.name, ".before")); });
  step("put the saved files in place", [&] { sys::rename(upper, place); });
  make_work_anew(paths, container.name, status);
}

void keep_new_upper(const Paths& paths, const std::string& name) {
  if (sys::exists(upper_of(paths, name, ".before")))
    sys::rename(upper_of(paths, name, ".before"), upper_of(paths, name, ".stale"));
}

void settle_upper(const Paths& paths, const std::string& name) {
  const std::string before = upper_of(paths, name, ".before");
  const std::string stale = upper_of(paths, name, ".stale");
  sys::remove_tree(stale);
  if (const auto status = sys::stat_path(before)) {
    step("put the old files back", [&] {
      if (sys::exists(upper_of(paths, name))) sys::rename(upper_of(paths, name), stale);
      sys::rename(before, upper_of(paths, name));
      make_work_anew(paths, name, *status);
      sys::remove_tree(stale);
    });
  }
  for (const std::string& entry : list_directory(paths.container(name))) {
    constexpr std::string_view kBegin = "upper.", kEnd = ".new";
    if (!entry.starts_with(kBegin) || !entry.ends_with(kEnd) || entry.size() <= kBegin.size() + kEnd.size())
      continue;
    const std::string pid = entry.substr(kBegin.size(), entry.size() - kBegin.size() - kEnd.size());
    if (is_left_by(pid)) sys::remove_tree(paths.container(name) + "/" + entry);
  }
}

}  // namespace holm::runtime
