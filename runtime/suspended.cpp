#include "runtime/suspended.h"

#include <fmt/core.h>

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
    sys::remove_tree(directory);
  });
}

}  // namespace holm::runtime
