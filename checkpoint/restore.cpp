#include "checkpoint/restore.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "base/interruption.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/archive.h"
#include "checkpoint/digest.h"
#include "checkpoint/files.h"
#include "checkpoint/host_facts.h"
#include "checkpoint/save.h"
#include "checkpoint/store.h"
#include "checkpoint/trust.h"
#include "runtime/cleanup.h"
#include "runtime/config_edit.h"
#include "runtime/config_show.h"
#include "runtime/counters.h"
#include "runtime/settle.h"
#include "runtime/upper_swap.h"
#include "storage/template_store.h"

namespace holm::checkpoint {
namespace {

using runtime::Condition;
using runtime::ConfigFile;
using runtime::Installation;
using runtime::StoredContainer;

void require_stopped(const Installation& installation, const std::string& name) {
  const auto seen = runtime::look(installation, name);
  if (seen.condition == Condition::damaged) throw Error(seen.problem);
  if (seen.condition != Condition::stopped)
    throw Error(fmt::format("it is {}", runtime::condition_name(seen.condition)))
        .hint(fmt::format("stop it first: 'holm stop {}'", name));
}

void verify(const std::string& directory, const Manifest& manifest) {
  step("check the host", [&] { check_host(manifest.host, read_host_facts()); });
  step("verify the parts", [&] { verify_parts(directory, manifest); });
  Interruption::check();
}

// Another template of that name has other files: programs may have them open, or map them.
void check_template(const Installation& installation, const StoredContainer& container,
                    const Manifest& manifest, RestoreReport& report) {
  const auto& root = container.config.spec.root;
  if (root.kind != runtime::RootKind::template_overlay) return;
  const auto found = storage::TemplateStore(installation.paths.templates()).find(root.template_name);
  if (found.created != manifest.template_made)
    report.warnings.push_back(
        fmt::format("the template '{}' was made at {}, and the one that the container was saved with at {}: "
                    "its programs may find "
                    "other files than they had",
                    root.template_name, found.created, shortened(manifest.template_made)));
}

ConfigFile saved_config(const Installation& installation, const Manifest& manifest, const std::string& name) {
  ConfigFile config;
  config.path = "the checkpoint's config";
  config.text = manifest.config;
  if (name != manifest.name)
    config.text = runtime::replace_in_config(config.text, {"name", runtime::toml_text(name)});
  config.spec = runtime::parse_config(config.text, config.path, name, installation.facts);
  return config;
}

// With the lock, of a container that is stopped; what is left to do once its parts are verified.
void bring_back(const Installation& installation, const std::string& name, const FileLock& lock,
                const std::string& directory, const Manifest& manifest, const RestoreOptions& options,
                RestoreReport& report) {
  const StoredContainer container = runtime::load_container(installation, name);
  require_same_shape(container.config.spec, saved_config(installation, manifest, name).spec);
  check_template(installation, container, manifest, report);
  runtime::StartOptions start;
  start.monitor.name = name;
  start.monitor.checkpoint = directory;
  start.monitor.new_identity = name != manifest.name;
  start.monitor.paused = options.paused || manifest.was_paused;
  if (manifest.files == Files::in_place && is_untrue(directory))
    throw Error("its processes ran again since, and have changed its files")
        .hint(fmt::format("'holm start --fresh {}' starts it anew", name));
  with_undo([&](UndoStack& undo) {
    if (manifest.files == Files::archived) {
      start.monitor.upper = runtime::make_new_upper(installation.paths, container);
      undo.push("remove the unpacked files", [upper = start.monitor.upper] { sys::remove_tree(upper); });
      step("unpack the files", [&] { unpack_files(directory, manifest, container, start.monitor.upper); });
    }
    Interruption::check();
    report.state = runtime::start_locked(installation, std::move(start), lock).state;
    undo.dismiss();
  });
}

}  // namespace

RestoreReport restore_tag(const Installation& installation, const std::string& name, const std::string& tag,
                          const RestoreOptions& options) {
  check_tag(tag);
  const Interruption interruption;
  const FileLock lock = runtime::lock_container(installation.paths, name);
  return with_frame(fmt::format("cannot restore container '{}'", name), [&] {
    RestoreReport report;
    runtime::settle(installation, name);
    require_stopped(installation, name);
    const std::string directory = tag_directory(installation.paths, name, tag);
    if (!has_checkpoint(directory)) throw no_checkpoint(installation.paths, name, tag);
    const Manifest manifest = read_manifest(directory);
    verify(directory, manifest);
    bring_back(installation, name, lock, directory, manifest, options, report);
    return report;
  });
}

RestoreReport start_or_go_on(const Installation& installation, const std::string& name, bool fresh) {
  runtime::require_container(installation.paths, name);
  if (runtime::is_suspended(installation.paths, name) && !fresh)
    return restore_tag(installation, name, runtime::kSuspendedTag, {});
  const FileLock lock = runtime::lock_container(installation.paths, name);
  if (runtime::look(installation, name).condition == Condition::stopped) {
    if (!fresh && sys::exists(runtime::suspended_directory(installation.paths, name)))
      throw Error(
          fmt::format("cannot start container '{}': its processes were saved when it was stopped, and it is "
                      "not known whether they ran on",
                      name))
          .hint(fmt::format("'holm start --fresh {}' gives the checkpoint up", name));
    runtime::drop_suspended(installation.paths, name);
  }
  runtime::StartOptions start;
  start.monitor.name = name;
  RestoreReport report;
  report.state = runtime::start_locked(installation, std::move(start), lock).state;
  return report;
}

namespace {

enum class Origin { file, this_host };

// The same container may have counted on another host; a copy of it begins anew.
void bring_counters(const Installation& installation, const std::string& name, const Manifest& manifest,
                    RestoreReport& report) {
  if (runtime::load_identity(installation.paths, name).uuid != manifest.uuid) return;
  try {
    runtime::bring_counters(installation.paths, manifest.uuid, name, manifest.counters);
  } catch (const Error& error) {  // it is worth more than its counters
    report.warnings.push_back("its counters begin anew: " + error.message());
  }
}

// From a directory with a checkpoint that is no container's own.
RestoreReport restore_directory(const Installation& installation, const std::string& directory, Origin origin,
                                const RestoreOptions& options) {
  const Manifest manifest = read_manifest(directory);
  const std::string name = options.new_name.empty() ? manifest.name : options.new_name;
  const FileLock lock = runtime::lock_name(installation.paths, name);
  return with_frame(fmt::format("cannot restore container '{}'", name), [&] {
    return with_undo([&](UndoStack& undo) {
      RestoreReport report;
      undo.push("remove the run directory",
                [&] { runtime::remove_unused_run_directory(installation.paths, name); });
      runtime::settle(installation, name);
      if (manifest.files == Files::in_place) throw Error("it has none of the container's files");
      if (runtime::container_exists(installation.paths, name)) {
        require_stopped(installation, name);
        require_place_for(installation, name, manifest);
        verify(directory, manifest);
      } else {
        const ConfigFile config = saved_config(installation, manifest, name);
        if (origin == Origin::file) require_trustworthy(config.spec);
        verify(directory, manifest);
        // The same container, where it keeps its name.
        const auto identity = runtime::create_container(installation, config, Durability::survives_crash,
                                                        name == manifest.name ? manifest.uuid : "");
        undo.push("remove the container", [&] { runtime::remove_container_files(installation.paths, name); });
        undo.push("remove its kernel objects", [&installation, number = identity.number] {
          runtime::remove_kernel_objects(installation.paths, number, {});
        });
      }
      bring_counters(installation, name, manifest, report);
      bring_back(installation, name, lock, directory, manifest, options, report);
      undo.dismiss();
      return report;
    });
  });
}

}  // namespace

RestoreReport restore_file(const Installation& installation, int input, const RestoreOptions& options) {
  const Interruption interruption;
  const WorkDirectory work(installation.paths.containers());
  step("read the checkpoint",
       [&] { with_frame("read the checkpoint", [&] { unpack(input, work.path(), options.progress); }); });
  return restore_directory(installation, work.path(), Origin::file, options);
}

RestoreReport clone_live(const Installation& installation, const std::string& name,
                         const std::string& new_name) {
  if (name == new_name) throw usage_error("a clone needs a name of its own");
  if (runtime::container_exists(installation.paths, new_name))
    throw Error(fmt::format("there is a container '{}' already", new_name)).hint("choose another name");
  RestoreReport report;
  SaveOptions save_options;
  save_options.tag = "clone";
  save_options.afterwards = Afterwards::run_on;
  save_options.deliver = [&](const std::string& directory) {
    report = restore_directory(installation, directory, Origin::this_host, {false, new_name, {}});
  };
  save(installation, name, save_options);
  return report;
}

}  // namespace holm::checkpoint
