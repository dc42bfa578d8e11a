#include "quotas/group_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/unique_fd.h"

namespace holm::quotas {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// Closed where there is no such group (any more). ENODEV: it was removed while it was open.
UniqueFd open_group(int directory, const char* name) {
  UniqueFd fd(::openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd && errno != ENOENT && errno != ENODEV) throw Error::system(fmt::format("open cgroup '{}'", name));
  return fd;
}

// Calls `visit` with the name of each nested group until it returns false.
template <class Visit>
void each_nested(int group, Visit&& visit) {
  UniqueFd copy(::openat(group, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!copy) return;  // removed meanwhile
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy.get()), ::closedir);
  if (!stream) throw Error::system("read a cgroup's directory");
  copy.release();  // the stream's now
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
    if (!visit(entry->d_name)) return;
  }
}

std::vector<std::string> nested_groups(int group) {
  std::vector<std::string> names;
  each_nested(group, [&](const char* name) {
    names.emplace_back(name);
    return true;
  });
  return names;
}

// `pending` has per level, outermost first, the nested groups that are still to be visited.
using Pending = std::vector<std::vector<std::string>>;

// The group to visit after `group`; closed at the end. The kernel never moves a group to another parent, so
// that ".." leads back.
UniqueFd next_group(UniqueFd group, Pending& pending) {
  while (group) {
    if (pending.back().empty()) {
      pending.pop_back();
      if (pending.empty()) break;
      group = open_group(group.get(), "..");
    } else {
      const std::string name = std::move(pending.back().back());
      pending.back().pop_back();
      if (UniqueFd next = open_group(group.get(), name.c_str())) return next;
    }
  }
  return {};
}

// Removes nested groups up to the first that is busy, and returns that one's name.
std::optional<std::string> remove_nested(int group, const std::string& directory) {
  std::optional<std::string> busy;
  each_nested(group, [&](const char* name) {
    if (::unlinkat(group, name, AT_REMOVEDIR) == 0 || errno == ENOENT || errno == ENODEV) return true;
    if (errno != EBUSY && errno != ENOTEMPTY)
      throw Error::system(fmt::format("remove cgroup '{}' below '{}'", printable(name), directory));
    busy = name;
    return false;
  });
  return busy;
}

// False where a group in the tree is busy with processes.
bool try_remove(const std::string& directory) {
  if (::rmdir(directory.c_str()) == 0 || errno == ENOENT) return true;
  if (errno != EBUSY && errno != ENOTEMPTY) throw Error::system(fmt::format("remove cgroup '{}'", directory));
  UniqueFd group = open_group(AT_FDCWD, directory.c_str());
  size_t depth = 0;
  while (group) {
    if (const auto busy = remove_nested(group.get(), directory)) {
      UniqueFd deeper = open_group(group.get(), busy->c_str());
      if (!deeper) continue;
      if (nested_groups(deeper.get()).empty()) return false;  // its own processes keep it
      group = std::move(deeper);
      ++depth;
    } else {
      if (depth == 0) break;
      --depth;
      group = open_group(group.get(), "..");
    }
  }
  return ::rmdir(directory.c_str()) == 0 || errno == ENOENT;
}

}  // namespace

void visit_tree(const std::string& directory, const std::function<void(int)>& visit) {
  Pending pending;
  for (UniqueFd group = open_group(AT_FDCWD, directory.c_str()); group;
       group = next_group(std::move(group), pending)) {
    visit(group.get());
    pending.push_back(nested_groups(group.get()));
  }
}

std::vector<pid_t> tree_processes(const std::string& directory) {
  std::vector<pid_t> pids;
  visit_tree(directory, [&](int group) {
    const UniqueFd fd(::openat(group, "cgroup.procs", O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return;
    std::string text;
    try {
      text = read_fd(fd.get(), directory + "/cgroup.procs", 64 * kMaxSmallFile);
    } catch (const Error& error) {
      // A threaded group: the domain that it belongs to lists its processes. Or it was removed meanwhile.
      if (error.error_number() == EOPNOTSUPP || error.error_number() == ENODEV) return;
      throw;
    }
    for (const std::string& word : split_words(text))
      if (const auto pid = parse_unsigned(word); pid && *pid > 0) pids.push_back(static_cast<pid_t>(*pid));
  });
  std::sort(pids.begin(), pids.end());
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  return pids;
}

std::vector<std::string> read_tree(const std::string& directory, const std::string& file) {
  std::vector<std::string> texts;
  visit_tree(directory, [&](int group) {
    const UniqueFd fd(::openat(group, file.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    // A group that is removed meanwhile (ENODEV) has nothing more to tell.
    if (fd) ignore_errors([&] { texts.push_back(read_fd(fd.get(), file)); });
  });
  return texts;
}

void write_to_tree(const std::string& directory, const std::string& file, const std::string& value) {
  visit_tree(directory, [&](int group) {
    const UniqueFd fd(::openat(group, file.c_str(), O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return;
    if (::write(fd.get(), value.data(), value.size()) < 0 && errno != ENODEV)
      throw Error::system(fmt::format("write '{}' to '{}' below '{}'", value, file, directory));
  });
}

void remove_tree_of_groups(const std::string& directory, std::chrono::milliseconds patience) {
  const auto end = Clock::now() + patience;
  auto pause = 200us;
  while (!try_remove(directory)) {
    if (Clock::now() >= end) {
      const size_t count = tree_processes(directory).size();
      throw Error::system(EBUSY, fmt::format("remove cgroup '{}' with {} process{} in it", directory, count,
                                             count == 1 ? "" : "es"));
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(20ms));
  }
}

}  // namespace holm::quotas
