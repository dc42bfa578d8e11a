// What groups of both versions share.
#include "quotas/group.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "quotas/control_file.h"
#include "quotas/group_tree.h"
#include "quotas/io_control.h"
#include "quotas/systemd_scope.h"

namespace holm::quotas {

// Below the hierarchy's root or in a scope of Holm's own, whatever group Holm itself runs in: containers
// outlive the session or service that started them. Every path comes from here, and from nowhere else.
std::string parent_directory(const CgroupLayout& layout, const CgroupLayout::Hierarchy& hierarchy,
                             const std::string& parent_name) {
  if (layout.manager == CgroupLayout::Manager::systemd)
    return fmt::format("{}/{}/{}", hierarchy.mount_point, kScopeSlice, scope_unit(parent_name));
  return hierarchy.mount_point + '/' + parent_name;
}

std::vector<std::string> levels_below(const std::string& base, const std::string& directory) {
  std::vector<std::string> levels;
  for (size_t slash = base.size(); slash < directory.size();) {
    slash = std::min(directory.find('/', slash + 1), directory.size());
    levels.push_back(directory.substr(0, slash));
  }
  return levels;
}

Group::Group(const CgroupLayout& layout, const CgroupLayout::Hierarchy& hierarchy,
             const std::string& parent_name, uint32_t number)
    : base_(hierarchy.mount_point),
      parent_(parent_directory(layout, hierarchy, parent_name)),
      directory_(fmt::format("{}/{}", parent_, number)),
      number_(number),
      controllers_(hierarchy.controllers),
      manager_(layout.manager) {}

std::string Group::file(std::string_view name) const {
  std::string path;
  path.reserve(directory_.size() + 1 + name.size());
  return path.append(directory_).append(1, '/').append(name);
}

bool Group::has(std::string_view controller) const {
  return std::find(controllers_.begin(), controllers_.end(), controller) != controllers_.end();
}

bool Group::is_counting() const {
  return std::ranges::any_of(controllers_, [](const std::string& name) {
    return name == "cpu" || name == "cpuacct" || name == "memory" || name == "pids" || name == "blkio" ||
           name == "io";
  });
}

bool Group::exists() const { return ::access(directory_.c_str(), F_OK) == 0; }

void Group::create() {
  // Without the bound, another Holm that keeps removing the empty parent could keep this one here.
  for (int attempt = 0; ::mkdir(directory_.c_str(), 0755) != 0; ++attempt) {
    const int error_number = errno;
    if (attempt == 16 || (error_number != ENOENT && error_number != EEXIST))
      throw Error::system(error_number, fmt::format("make cgroup '{}'", directory_));
    if (error_number == ENOENT) {
      make_parent();
    } else {
      if (!tree_processes(directory_).empty())
        throw Error::system(EEXIST, fmt::format("make cgroup '{}'", directory_))
            .hint("processes of an earlier container are still in it: 'holm gc' ends them");
      remove_tree_of_groups(directory_, std::chrono::milliseconds(100));
    }
  }
  try {
    prepare();
  } catch (const Error&) {
    ::rmdir(directory_.c_str());  // the first error is the one to tell
    throw;
  }
}

void Group::make_parent() {
  if (is_in_scope() && is_v2())
    throw Error::system(ENOENT, fmt::format("make cgroup '{}'", directory_))
        .hint("systemd has ended Holm's scope, and with it all that ran there; start the container again");
  for (const std::string& level : levels())
    // ENOENT: another Holm has just removed an outer one.
    if (::mkdir(level.c_str(), 0755) != 0 && errno != EEXIST && errno != ENOENT)
      throw Error::system(fmt::format("make cgroup '{}'", level));
  prepare_parent();
}

void Group::remove(std::chrono::milliseconds patience) {
  remove_tree_of_groups(directory_, patience);
  forget();
}

void Group::forget_burst(const std::string& path, Freshness freshness) {
  if (freshness == Freshness::used && read_number(path).value_or(0) > 0) write_checked(path, "0");
}

void Group::write_burst(const std::string& path, const CpuLimits& limits,
                        std::vector<std::string>& warnings) {
  if (limits.burst_percent == 0) return;
  if (read_control(path))
    write_checked(path, fmt::format("{}", microseconds_of(limits.burst_percent)));
  else
    warnings.emplace_back("cpu.burst has no effect: this kernel cannot save up CPU time (Linux 5.14 can)");
}

DeviceIo& device_io(Usage& usage, std::string_view device) {
  for (DeviceIo& io : usage.io)
    if (io.device == device) return io;
  return usage.io.emplace_back(DeviceIo{.device = std::string(device)});
}

void Group::write_pids(std::optional<uint64_t> limit, Freshness freshness) {
  const std::string maximum = file("pids.max");
  if (freshness == Freshness::fresh && !limit) return;
  const std::string before = read_control(maximum).value_or("max");
  write_checked(maximum, limit ? fmt::format("{}", *limit) : "max");
  if (freshness == Freshness::used && limit) check_pids(*limit, before);
}

// The kernel takes a limit below what is held, too, and refuses every fork from then on.
void Group::check_pids(uint64_t limit, const std::string& before) {
  const uint64_t held = read_number(file("pids.current")).value_or(0);
  const auto old = parse_unsigned(before);
  if (held <= limit || (old && *old <= limit)) return;
  write_checked(file("pids.max"), before);
  throw Error(fmt::format("set pids.limit to {}: the container holds {} processes and threads", limit, held))
      .hint("end processes in it, or leave it more");
}

void Group::write_io(const IoLimits& limits, Freshness freshness, std::vector<std::string>& warnings) {
  write_io_limits({is_v2() ? IoVersion::v2 : IoVersion::v1, base_, directory_}, limits, freshness, warnings);
}

void Group::lift_io() { lift_io_rates({is_v2() ? IoVersion::v2 : IoVersion::v1, base_, directory_}); }

IoLimits Group::read_io() const {
  return read_io_limits({is_v2() ? IoVersion::v2 : IoVersion::v1, base_, directory_});
}

}  // namespace holm::quotas
