#include "runtime/change_journal.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/step.h"
#include "base/sys.h"
#include "isolation/resource_limits.h"
#include "runtime/container_limits.h"
#include "runtime/frozen_moment.h"
#include "runtime/host_side.h"

namespace holm::runtime {
namespace {

using nlohmann::json;

std::string journal_path(const Paths& paths, const std::string& name) {
  return paths.runtime(name) + "/change.json";
}

std::string encode(const ChangeJournal& journal) {
  json value = {{"after", journal.after}, {"limits", json::object()}};
  if (journal.saved) value["saved"] = {journal.saved->before, journal.saved->after};
  for (const auto& [name, limit] : journal.limits) value["limits"][name] = {limit.rlim_cur, limit.rlim_max};
  return value.dump();
}

ChangeJournal decode(const std::string& text) {
  const json value = json::parse(text);
  ChangeJournal journal;
  journal.after = value.at("after");
  if (value.contains("saved")) journal.saved = {value.at("saved").at(0), value.at("saved").at(1)};
  for (const auto& [name, limit] : value.at("limits").items())
    journal.limits[name] = {limit.at(0).get<rlim_t>(), limit.at(1).get<rlim_t>()};
  return journal;
}

// The kernel gets what the run's record says; of limits of processes, which it is silent about where they are
// defaults, what they were.
void write_recorded_limits(const Paths& paths, const Observation& seen, const ContainerSpec& recorded,
                           const ChangeJournal& journal, bool is_done) {
  const auto cgroup = container_cgroup(paths, seen.state->number);
  const FrozenMoment frozen(paths, seen.name, *cgroup);
  apply_limits(paths, recorded, *cgroup);
  for (const auto& [name, before] : journal.limits) {
    const rlimit held = isolation::resource_limit_of(name, seen.state->init.pid);
    rlimit wanted = before;
    if (const auto set = recorded.resource_limits.find(name);
        is_done && set != recorded.resource_limits.end())
      wanted = {set->second, set->second};
    if (held.rlim_max != wanted.rlim_max) change_process_limits(*cgroup, name, held.rlim_max, wanted);
  }
}

}  // namespace

void begin_change(const Paths& paths, const std::string& name, const ChangeJournal& journal) {
  step("note what is to change", [&] { replace_file(journal_path(paths, name), encode(journal)); });
}

void end_change(const Paths& paths, const std::string& name) { sys::remove_file(journal_path(paths, name)); }

void finish_forgotten_change(const Installation& installation, const Observation& seen) noexcept {
  const Paths& paths = installation.paths;
  ignore_errors([&] {
    const auto text = read_file_if_exists(journal_path(paths, seen.name));
    if (!text) return;
    step("finish what a killed command was changing", [&] {
      const FileLock lock = lock_config(paths, seen.name);
      const ChangeJournal journal = decode(*text);
      const ConfigFile live = load_running_container(installation, seen.name).config;
      const bool is_done = live.text == journal.after;
      if (seen.has_init()) write_recorded_limits(paths, seen, live.spec, journal, is_done);
      ConfigFile config = load_container(installation, seen.name).config;
      if (is_done && journal.saved && config.text == journal.saved->before) {  // nobody has changed it since
        config.text = journal.saved->after;
        save_config(paths, config);
      }
      end_change(paths, seen.name);
    });
  });
}

}  // namespace holm::runtime
