#include "runtime/suspended.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <vector>

#include "base/file.h"
#include "base/step.h"
#include "base/sys.h"
#include "runtime/state.h"

namespace holm::runtime {
namespace {

// ".TAG.PID.new".
void remove_drafts(const std::string& store) {
  constexpr std::string_view kNew = ".new";
  for (const std::string& name : list_directory(store)) {
    std::string_view rest = name;
    if (!rest.starts_with('.')) continue;
    if (!rest.ends_with(kNew)) continue;
    rest.remove_suffix(kNew.size());
    const size_t dot = rest.rfind('.');
    if (dot != std::string_view::npos && is_left_by(rest.substr(dot + 1)))
      sys::remove_tree(store + "/" + name);
  }
}

// Of a gigabyte the kernel needs a quarter of a second to take the space back when the last name and the last
// descriptor go. So the names go now, and the descriptors with a process that nobody waits for.
void remove_images(const std::string& directory) {
  constexpr off_t kLarge = 4 << 20;
  std::vector<UniqueFd> large;
  ignore_errors([&] {  // then it takes its time
    const std::string images = directory + "/images";
    for (const std::string& name : list_directory(images)) {
      const auto status = sys::stat_path(images + "/" + name);
      if (status && S_ISREG(status->st_mode) && status->st_size >= kLarge)
        large.push_back(sys::open(images + "/" + name, O_RDONLY | O_NOFOLLOW));
    }
  });
  sys::remove_tree(directory);
  if (large.empty()) return;
  const sys::Pipe pipe = sys::pipe();
  if (::fork() == 0) {
    // Nothing else of ours: neither locks nor streams that somebody reads to their end.
    std::set<unsigned> kept = {static_cast<unsigned>(pipe.read_end.get())};
    for (const UniqueFd& fd : large) kept.insert(static_cast<unsigned>(fd.get()));
    unsigned first = 0;
    for (const unsigned fd : kept) {
      if (fd > first) sys::close_range(first, fd - 1);
      first = fd + 1;
    }
    sys::close_range(first);
    char byte = 0;
    const bool is_alone = ::read(pipe.read_end.get(), &byte, 1) == 0;  // our own are closed by then
    ::_exit(is_alone ? 0 : 1);
  }
  large.clear();
}

// Whoever saved it was killed before that could be noted.
bool has_ended_in_it(const Paths& paths, const std::string& name) {
  std::optional<State> state;
  ignore_errors([&] { state = read_state(paths, name); });  // damaged: then it is not known
  return state && state->phase == Phase::stopped && state->last_exit && state->last_exit->is_saved;
}

}  // namespace

std::string checkpoint_store(const Paths& paths, const std::string& name) {
  return paths.container(name) + "/checkpoint";
}

std::string suspended_directory(const Paths& paths, const std::string& name) {
  return fmt::format("{}/{}", checkpoint_store(paths, name), kSuspendedTag);
}

bool is_suspended(const Paths& paths, const std::string& name) {
  const std::string directory = suspended_directory(paths, name);
  if (!sys::exists(directory + "/manifest.json")) return false;
  return !sys::exists(fmt::format("{}/{}", directory, kUntrueMark)) || has_ended_in_it(paths, name);
}

void remove_checkpoint_drafts(const Paths& paths, const std::string& name) {
  remove_drafts(checkpoint_store(paths, name));
}

void settle_checkpoints(const Paths& paths, const std::string& name) {
  remove_checkpoint_drafts(paths, name);
  const std::string mark = fmt::format("{}/{}", suspended_directory(paths, name), kUntrueMark);
  if (sys::exists(mark) && has_ended_in_it(paths, name)) sys::remove_file(mark);
}

std::string pre_dump_store(const Paths& paths, const std::string& name) {
  return checkpoint_store(paths, name) + "/.pre";
}

void drop_pre_dumps(const Paths& paths, const std::string& name) {
  sys::remove_tree(pre_dump_store(paths, name));
}

void drop_suspended(const Paths& paths, const std::string& name) {
  const std::string directory = suspended_directory(paths, name);
  if (!sys::exists(directory)) return;
  step("drop the checkpoint that it was stopped with", [&] {
    sys::remove_file(directory + "/manifest.json");  // first: what is half removed is none
    remove_images(directory);
  });
}

}  // namespace holm::runtime
