#include "runtime/resource_change.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/step.h"
#include "base/text.h"
#include "base/undo.h"
#include "isolation/resource_limits.h"
#include "runtime/change_journal.h"
#include "runtime/config_show.h"
#include "runtime/container_limits.h"
#include "runtime/frozen_moment.h"
#include "runtime/host_side.h"
#include "runtime/lifecycle.h"
#include "runtime/observe.h"
#include "runtime/settle.h"

namespace holm::runtime {
namespace {

constexpr std::array<std::string_view, 5> kResourceSections = {"cpu", "memory", "pids", "io", "limits"};
constexpr std::string_view kDefaultWord = "default";

bool is_resource(const ConfigKey& key) {
  return std::ranges::find(kResourceSections, section_of(key.path)) != kResourceSections.end();
}

const ConfigKey& find_resource_key(const std::string& path) {
  const ConfigKey* const key = container_keys().find(path);
  if (!key) {
    std::vector<std::string_view> known;
    for (const ConfigKey* candidate : resource_keys()) known.push_back(candidate->path);
    const auto meant = nearest(path, known);
    throw usage_error(fmt::format("there is no key '{}'", shortened(path)))
        .hint(meant ? fmt::format("did you mean '{}'?", *meant) : "'holm set --help' lists the keys");
  }
  if (key->availability == Availability::later)
    throw usage_error(fmt::format("'{}' is not available in this version", path));
  if (!is_resource(*key))
    throw usage_error(fmt::format("'{}' cannot be changed in place: it is no resource", path))
        .hint("edit the config file and start the container again");
  return *key;
}

// As the config file would have it; whether it is a good value is found with the rest of the checks.
std::string toml_value(const ConfigKey& key, const std::string& word) {
  if (word == kDefaultWord) return "";
  if (const auto number = key.type != KeyType::text ? parse_signed(word) : std::nullopt)
    return fmt::format("{}", *number);
  if (key.type == KeyType::whole_number)
    throw usage_error(fmt::format("'{}' must be {}, not {}", key.path, key.allowed, shortened(word)));
  return toml_text(word);
}

KeyChange parse_change(const std::string& word) {
  const size_t equals = word.find('=');
  if (equals == std::string::npos || equals == 0)
    throw usage_error(fmt::format("'{}' is no change", shortened(word)))
        .hint("write KEY=VALUE: memory.limit=1G");
  const std::string path = word.substr(0, equals), value = word.substr(equals + 1);
  const ConfigKey& key = find_resource_key(path);
  if (value.empty())
    throw usage_error(fmt::format("'{}' has no value", printable(word)))
        .hint(fmt::format("{}=default takes the key out of the config", path));
  return {path, toml_value(key, value)};
}

// The config after the changes, checked as a whole.
ConfigFile changed_config(const Installation& installation, const ConfigFile& before,
                          const std::vector<KeyChange>& changes) {
  ConfigFile after;
  after.path = before.path;
  after.text = edit_config(before.text, changes);
  after.spec = parse_config(after.text, "", before.spec.name, installation.facts);
  return after;
}

// Without CAP_SYS_RESOURCE what was lowered cannot be raised again, and so not be undone: raising comes
// first, lowering last.
enum class Direction { raise, lower };

// Those that `after` sets and `before` did not, or to another value.
isolation::ResourceLimits difference(const isolation::ResourceLimits& before,
                                     const isolation::ResourceLimits& after) {
  isolation::ResourceLimits changed;
  for (const auto& [name, value] : after)
    if (const auto old = before.find(name); old == before.end() || old->second != value)
      changed[name] = value;
  return changed;
}

// What init has of these.
std::map<std::string, rlimit> held_limits(const Observation& seen, const isolation::ResourceLimits& limits) {
  std::map<std::string, rlimit> held;
  for (const auto& [name, value] : limits)
    held[name] = isolation::resource_limit_of(name, seen.state->init.pid);
  return held;
}

template <class Amount>
bool is_lowered(const std::optional<Amount>& before, const std::optional<Amount>& after) {
  return after && (!before || *after < *before);
}

class ResourceChange {
 public:
  ResourceChange(const Installation& installation, const std::vector<KeyChange>& changes, ChangeScope scope)
      : installation_(installation), changes_(changes), scope_(scope) {}

  ChangeReport apply(const std::string& name) {
    const Observation seen = observe(installation_.paths, quotas::detect_cgroup_layout(), name);
    if (seen.condition == Condition::damaged) throw Error(seen.problem);
    if (scope_ == ChangeScope::now && !seen.has_init())
      throw Error("it is not running")
          .hint(
              fmt::format("'holm start {}' starts it; 'holm set' without --now is for its next start", name));
    report_.is_in_force = seen.has_init() && scope_ != ChangeScope::saved;
    report_.is_saved = scope_ != ChangeScope::now;
    const ConfigFile saved = load_container(installation_, name).config;
    const ConfigFile next = report_.is_saved ? changed_config(installation_, saved, changes_) : saved;
    with_undo([&](UndoStack& undo) {
      if (report_.is_in_force)
        change_run(seen, saved, next, undo);
      else
        save(saved, next, undo);
      undo.dismiss();
    });
    return std::move(report_);
  }

 private:
  void save(const ConfigFile& saved, const ConfigFile& next, UndoStack& undo) {
    if (!report_.is_saved) return;
    step("save the config", [&] { save_config(installation_.paths, next); });
    undo.push("put the config back", [this, saved] { save_config(installation_.paths, saved); });
  }

  void change_run(const Observation& seen, const ConfigFile& saved, const ConfigFile& next, UndoStack& undo) {
    const ConfigFile live = load_running_container(installation_, seen.name).config;
    const ConfigFile after = changed_config(installation_, live, changes_);
    cgroup_ = container_cgroup(installation_.paths, seen.state->number);
    begin_change(
        installation_.paths, seen.name,
        {after.text,
         report_.is_saved ? std::optional(ChangeJournal::Saved{saved.text, next.text}) : std::nullopt,
         held_limits(seen, difference(live.spec.resource_limits, after.spec.resource_limits))});
    undo.push("forget the change", [this, &seen] { end_change(installation_.paths, seen.name); });
    step("raise process limits",
         [&] { write_process_limits(Direction::raise, seen, live.spec, after.spec, undo); });
    undo.push("put the limits back", [this, live, after] { write_limits(after.spec, live.spec); });
    report_.warnings = step("write limits", [&] { return write_limits(live.spec, after.spec); });
    std::erase_if(report_.warnings, [this](const std::string& warning) { return !is_of_change(warning); });
    const std::string path = live_config_path(installation_.paths, seen.name);
    step("record what the run has", [&] { replace_file(path, after.text); });  // or it stays what it was
    undo.push("put the run's config back", [path, live] { replace_file(path, live.text); });
    save(saved, next, undo);
    step("lower process limits",
         [&] { write_process_limits(Direction::lower, seen, live.spec, after.spec, undo); });
    end_change(installation_.paths, seen.name);
    for (const KeyChange& change : changes_)
      if (change.value.empty() && section_of(change.path) == "limits")
        report_.warnings.push_back(
            fmt::format("{}: processes that run keep what they have until the next start", change.path));
  }

  // What the start said of other keys is not said again.
  bool is_of_change(const std::string& warning) const {
    return std::ranges::any_of(
        changes_, [&](const KeyChange& change) { return warning.find(change.path) != std::string::npos; });
  }

  std::vector<std::string> write_limits(const ContainerSpec& before, const ContainerSpec& after) {
    std::optional<FrozenMoment> frozen;
    if (is_lowered(before.limits.memory.limit, after.limits.memory.limit) ||
        is_lowered(before.limits.pids, after.limits.pids))
      frozen.emplace(installation_.paths, after.name, *cgroup_);
    return apply_limits(installation_.paths, after, *cgroup_);
  }

  void write_process_limits(Direction direction, const Observation& seen, const ContainerSpec& before,
                            const ContainerSpec& after, UndoStack& undo) {
    std::optional<FrozenMoment> frozen;
    for (const auto& [name, value] : difference(before.resource_limits, after.resource_limits)) {
      const rlimit old = isolation::resource_limit_of(name, seen.state->init.pid);
      if ((value > old.rlim_max) != (direction == Direction::raise)) continue;
      if (!frozen) frozen.emplace(installation_.paths, after.name, *cgroup_);
      undo.push(fmt::format("put limits.{} back", name), [this, container = after.name, name, value, old] {
        const FrozenMoment again(installation_.paths, container, *cgroup_);
        change_process_limits(*cgroup_, name, value, old);
      });
      change_process_limits(*cgroup_, name, old.rlim_max, {value, value});
    }
  }

  const Installation& installation_;
  const std::vector<KeyChange>& changes_;
  ChangeScope scope_;
  std::unique_ptr<quotas::Cgroup> cgroup_;
  ChangeReport report_;
};

}  // namespace

std::vector<const ConfigKey*> resource_keys() {
  std::vector<const ConfigKey*> keys;
  for (const ConfigKey& key : container_keys().keys)
    if (is_resource(key) && key.availability == Availability::now) keys.push_back(&key);
  return keys;
}

std::vector<KeyChange> parse_changes(const std::vector<std::string>& words) {
  std::vector<KeyChange> changes;
  std::set<std::string> seen;
  for (const std::string& word : words) {
    KeyChange change = parse_change(word);
    if (!seen.insert(change.path).second)
      throw usage_error(fmt::format("'{}' is set twice", change.path)).hint("say each key once");
    changes.push_back(std::move(change));
  }
  return changes;
}

ChangeReport change_resources(const Installation& installation, const std::string& name,
                              const std::vector<KeyChange>& changes, ChangeScope scope) {
  const FileLock lock = lock_container(installation.paths, name);
  return with_frame(fmt::format("cannot change container '{}'", name), [&] {
    settle(installation, name);
    const FileLock config = lock_config(installation.paths, name);
    return ResourceChange(installation, changes, scope).apply(name);
  });
}

}  // namespace holm::runtime
