#include "quotas/hierarchy_options.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mount.h>
#include <unistd.h>

#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/mountinfo.h"

namespace holm::quotas {
namespace {

// Of the host, whichever installation of Holm looks.
constexpr const char* kRecord = "/run/holm-cgroup2.options";

struct Hierarchy {
  std::string mount_point;  // empty: there is none
  std::set<std::string> options;
};

Hierarchy look() {
  for (const MountEntry& mount : parse_mountinfo(read_file("/proc/self/mountinfo", 16 * kMaxSmallFile))) {
    if (mount.type != "cgroup2") continue;
    Hierarchy hierarchy{mount.point, {mount.super_options.begin(), mount.super_options.end()}};
    hierarchy.options.erase("rw");
    hierarchy.options.erase("ro");
    return hierarchy;
  }
  return {};
}

std::set<std::string> recorded() {
  const auto words = split_words(read_file_if_exists(kRecord).value_or(""));
  return {words.begin(), words.end()};
}

void set(const Hierarchy& hierarchy, const std::set<std::string>& options) {
  const UniqueFd context(::fspick(AT_FDCWD, hierarchy.mount_point.c_str(), FSPICK_CLOEXEC));
  bool is_set = static_cast<bool>(context);
  for (const std::string& option : options)
    is_set = is_set && ::fsconfig(context.get(), FSCONFIG_SET_FLAG, option.c_str(), nullptr, 0) == 0;
  if (!is_set || ::fsconfig(context.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr, 0) != 0)
    throw Error::system(fmt::format("set the options of '{}'", hierarchy.mount_point));
}

}  // namespace

HierarchyOptions::HierarchyOptions() {
  ignore_errors([] {  // they are nothing that a container needs
    const Hierarchy now = look();
    std::set<std::string> all = recorded();
    const size_t known = all.size();
    all.insert(now.options.begin(), now.options.end());
    if (all.size() > known)
      replace_file(kRecord, join(std::vector<std::string>(all.begin(), all.end()), " ") + "\n");
  });
}

HierarchyOptions::~HierarchyOptions() {
  ignore_errors([] { restore_hierarchy_options(); });  // as above
}

void restore_hierarchy_options() {
  std::set<std::string> wanted = recorded();
  if (wanted.empty()) return;
  const Hierarchy now = look();
  if (now.mount_point.empty()) return;
  wanted.insert(now.options.begin(), now.options.end());
  if (wanted.size() > now.options.size()) set(now, wanted);
}

}  // namespace holm::quotas
