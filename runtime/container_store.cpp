#include "runtime/container_store.h"

#include <fcntl.h>
#include <fmt/core.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/lease_directory.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "netsetup/address_pool.h"
#include "runtime/config_edit.h"
#include "runtime/config_show.h"
#include "runtime/network_plan.h"
#include "runtime/state.h"
#include "runtime/uuid.h"
#include "storage/root_check.h"
#include "storage/template_store.h"

namespace holm::runtime {
namespace {

using nlohmann::json;

constexpr int kIdentityVersion = 2;  // 1 had no uuid
// Holds the boot id that a container was made for.
constexpr const char* kMarkName = "/until-reboot";
constexpr std::chrono::seconds kLockTimeout(30);

std::string identity_path(const Paths& paths, const std::string& name) {
  return paths.container(name) + "/identity.json";
}
std::string config_path(const Paths& paths, const std::string& name) {
  return paths.container(name) + "/config.toml";
}

std::string encode_identity(const Identity& identity) {
  return json({{"version", kIdentityVersion},
               {"number", identity.number},
               {"first_id", identity.ids.first},
               {"id_count", identity.ids.count},
               {"uuid", identity.uuid}})
             .dump() +
         "\n";
}

// The number's range: the pool's block belongs to this installation alone, so number and range are one
// reservation.
isolation::IdRange range_of(const Installation& installation, uint32_t number) {
  const IdBlock block = id_block(installation.settings, installation.paths.installation());
  return {block.first + (number - 1) * kIdsPerRange, kIdsPerRange};
}

void check_root(const Installation& installation, const RootSpec& root) {
  if (root.kind == RootKind::template_overlay) {
    storage::TemplateStore(installation.paths.templates()).find(root.template_name);
    return;
  }
  UniqueFd directory;
  try {
    directory = sys::open(root.directory, O_PATH | O_DIRECTORY);
  } catch (Error& error) {
    throw error.hint("'root' must be a directory that holds a root file system");
  }
  storage::check_root_file_system(directory.get(), root.directory);
}

// In a directory that nobody else sees yet.
void write_new_file(const std::string& path, const std::string& content, Durability durability) {
  const UniqueFd fd = sys::open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
  sys::write_all(fd.get(), content, path);
  if (durability == Durability::survives_crash) sys::sync_fd(fd.get(), path);
}

// Everything of the container in one directory that gets its name last.
void fill_directory(const std::string& directory, const Identity& identity, const ConfigFile& config,
                    Durability durability) {
  sys::make_directory(directory, 0700);
  // The mark first, so that no crash leaves the other files without it.
  if (durability == Durability::until_reboot)
    write_new_file(directory + kMarkName, current_boot_id(), durability);
  write_new_file(directory + "/config.toml", config.text, durability);
  write_new_file(directory + "/identity.json", encode_identity(identity), durability);
  if (config.spec.root.kind != RootKind::template_overlay) return;
  const uint32_t owner = config.spec.security.user_namespace ? identity.ids.first : 0;
  for (const char* part : {"/upper", "/work"}) {
    sys::make_directory(directory + part, 0755);
    sys::chown_path(directory + part, owner, owner);
  }
}

// Who has the number according to the containers themselves; empty for none.
std::string container_of_number(const Paths& paths, uint32_t number) {
  for (const std::string& name : container_names(paths)) {
    bool owns = false;
    ignore_errors([&] {
      owns = load_identity(paths, name).number == number;
    });  // a damaged one's reservation has its name
    if (owns) return name;
  }
  return "";
}

// The number that a killed create of the same name left, if there is one. A killed rename may have left the
// number of a container that has another name now: that is put right, as two containers must never share one.
uint32_t take_up_number(const Paths& paths, LeaseDirectory& numbers, const std::string& name) {
  for (const auto& [number, owner] : numbers.holders()) {
    if (owner != name) continue;
    const std::string container = container_of_number(paths, number);
    if (container.empty()) return number;
    numbers.rename_owner(number, container);
  }
  return 0;
}

bool has_uuid(const Paths& paths, const std::string& uuid) {
  return std::ranges::any_of(container_names(paths), [&](const std::string& name) {
    bool is_same = false;
    ignore_errors([&] { is_same = load_identity(paths, name).uuid == uuid; });  // a damaged one
    return is_same;
  });
}

// create_container, without the frame around its errors.
Identity create_directories(const Installation& installation, const ConfigFile& config, Durability durability,
                            const std::string& uuid) {
  const Paths& paths = installation.paths;
  const std::string& name = config.spec.name;
  if (container_exists(paths, name))
    throw Error(fmt::format("there is a container '{}' already", name))
        .hint("choose another name, or destroy it first");
  step("check the root file system", [&] { check_root(installation, config.spec.root); });
  step("make the state directory", [&] {
    sys::make_directories(paths.state, 0700);
    sys::make_directories(paths.containers(), 0700);
  });
  const std::string directory = fmt::format("{}/.{}.new", paths.containers(), name);
  return with_undo([&](UndoStack& undo) {
    LeaseDirectory numbers(paths.numbers());
    Identity identity;
    step("reserve a number", [&] {
      identity.number = take_up_number(paths, numbers, name);
      if (!identity.number) {
        const uint32_t last = id_block(installation.settings, paths.installation()).range_count;
        const auto number = numbers.acquire(name, 1, last, std::nullopt, durability);
        if (!number)
          throw Error(fmt::format("no free id range: all {} are in use", last))
              .hint("destroy containers, or raise ids.count in " + paths.host_config);
        identity.number = *number;
      }
    });
    undo.push("give back the number",
              [&name, numbers, number = identity.number]() mutable { numbers.release(number, name); });
    identity.ids = range_of(installation, identity.number);
    identity.uuid = is_uuid(uuid) && !has_uuid(paths, uuid) ? uuid : make_uuid();
    isolation::check_id_range(identity.ids);
    sys::remove_tree(directory);
    undo.push("remove the container's directory", [&] { sys::remove_tree(directory); });
    step("make the container's directory", [&] { fill_directory(directory, identity, config, durability); });
    step("name the container's directory", [&] {
      const bool sync = durability == Durability::survives_crash;
      if (sync) sync_directory(directory);
      sys::rename_new(directory, paths.container(name));
      undo.dismiss();  // it is there now, and needs its number whatever the disk says
      if (sync) sync_directory(paths.containers());
    });
    return identity;
  });
}

}  // namespace

Installation open_installation() {
  Installation installation;
  installation.paths = paths_from_environment();
  installation.settings = load_host_settings(installation.paths.host_config);
  installation.facts.online_cpus = quotas::online_cpus();
  installation.facts.online_nodes = quotas::online_nodes();
  installation.facts.memory = quotas::host_memory();
  return installation;
}

FileLock lock_name(const Paths& paths, const std::string& name) {
  if (!is_dns_label(name))
    throw usage_error(fmt::format("'{}' is no container name", printable(name)))
        .hint("a name has up to 63 letters, digits and inner hyphens");
  const std::string directory = paths.runtime(name);
  for (int attempt = 0;; ++attempt) {
    try {
      sys::make_directories(directory, 0700);
      return FileLock::acquire(directory + "/lock", kLockTimeout,
                               fmt::format("container '{}' is busy: another command works on it since {} s",
                                           name, kLockTimeout.count()));
    } catch (const Error& error) {
      if (error.error_number() != ENOENT || attempt >= 100) throw;  // destroyed meanwhile, with its directory
    }
  }
}

FileLock lock_container(const Paths& paths, const std::string& name) {
  require_container(paths, name);
  FileLock lock = step("lock the container", [&] { return lock_name(paths, name); });
  remove_unused_run_directory(paths, name);  // the lock of one that was destroyed meanwhile has made it anew
  require_container(paths, name);
  return lock;
}

FileLock lock_config(const Paths& paths, const std::string& name) {
  return FileLock::acquire(
      paths.runtime(name) + "/config.lock", kLockTimeout,
      fmt::format("container '{}' is being changed since {} s", name, kLockTimeout.count()));
}

bool container_exists(const Paths& paths, const std::string& name) {
  return is_dns_label(name) && sys::exists(paths.container(name));
}

std::vector<std::string> container_names(const Paths& paths) {
  std::vector<std::string> names = list_directory(paths.containers());
  std::erase_if(names, [](const std::string& name) { return !is_dns_label(name); });
  return names;
}

void require_container(const Paths& paths, const std::string& name) {
  if (container_exists(paths, name)) return;
  Error error(fmt::format("there is no container '{}'", printable(name)));
  const std::vector<std::string> names = container_names(paths);
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  if (const auto meant = nearest(name, candidates)) {
    error.hint(fmt::format("did you mean '{}'?", *meant));
  } else {
    error.hint("'holm list -a' shows all containers");
  }
  throw error;
}

Identity create_container(const Installation& installation, const ConfigFile& config, Durability durability,
                          const std::string& uuid) {
  return with_frame(fmt::format("cannot create container '{}'", config.spec.name), [&] {
    return with_undo([&](UndoStack& undo) {
      // The caller's lock made it.
      undo.push("remove the run directory",
                [&] { remove_unused_run_directory(installation.paths, config.spec.name); });
      const Identity identity = create_directories(installation, config, durability, uuid);
      undo.dismiss();
      return identity;
    });
  });
}

void remove_unused_run_directory(const Paths& paths, const std::string& name) {
  if (!container_exists(paths, name)) sys::remove_tree(paths.runtime(name));
}

bool is_outlived(const Paths& paths, const std::string& name) {
  const auto boot_id = read_file_if_exists(paths.container(name) + kMarkName);
  return boot_id && *boot_id != current_boot_id();
}

std::string identity_stamp(const Paths& paths, const std::string& name) {
  const auto file = sys::stat_path(identity_path(paths, name));
  if (!file) return "";
  return fmt::format("{} {}.{}", file->st_ino, file->st_ctim.tv_sec, file->st_ctim.tv_nsec);
}

Identity load_identity(const Paths& paths, const std::string& name) {
  const std::string path = identity_path(paths, name);
  return with_frame(fmt::format("read '{}'", path), [&] {
    try {
      const json value = json::parse(read_file(path));
      if (value.at("version").get<int>() > kIdentityVersion)
        throw Error("written by a newer version of Holm");
      Identity identity;
      const auto number = value.at("number").get<uint64_t>(), first = value.at("first_id").get<uint64_t>();
      if (number == 0 || number > UINT32_MAX || first > UINT32_MAX || value.at("id_count") != kIdsPerRange)
        throw Error(fmt::format("damaged: number {}, first_id {}, id_count {}", value.at("number").dump(),
                                value.at("first_id").dump(), value.at("id_count").dump()));
      identity.number = static_cast<uint32_t>(number);
      identity.ids = {static_cast<uint32_t>(first), kIdsPerRange};
      isolation::check_id_range(identity.ids);
      identity.uuid =
          value.at("version") == 1 ? derive_uuid(path, identity.number) : value.at("uuid").get<std::string>();
      if (!is_uuid(identity.uuid)) throw Error("damaged: its uuid is none");
      return identity;
    } catch (const json::exception& failure) {
      throw Error(fmt::format("damaged: {}", failure.what()));
    }
  });
}

namespace {

StoredContainer load_with_config(const Installation& installation, const std::string& name, std::string path,
                                 std::string text) {
  StoredContainer stored;
  stored.name = name;
  stored.identity = load_identity(installation.paths, name);
  if (sys::exists(installation.paths.container(name) + kMarkName))
    stored.durability = Durability::until_reboot;
  stored.config.path = std::move(path);
  stored.config.text = std::move(text);
  stored.config.spec = parse_config(stored.config.text, stored.config.path, name, installation.facts);
  if (stored.config.spec.name != name)
    throw usage_error(fmt::format("'{}' sets the name '{}'", stored.config.path, stored.config.spec.name))
        .hint(fmt::format("use 'holm rename {} {}'", name, stored.config.spec.name));
  return stored;
}

}  // namespace

StoredContainer load_container(const Installation& installation, const std::string& name) {
  require_container(installation.paths, name);
  const std::string path = config_path(installation.paths, name);
  return load_with_config(installation, name, path, read_file(path));
}

StoredContainer load_running_container(const Installation& installation, const std::string& name) {
  require_container(installation.paths, name);
  const std::string path = live_config_path(installation.paths, name);
  auto text = read_file_if_exists(path);
  return text ? load_with_config(installation, name, path, std::move(*text))
              : load_container(installation, name);
}

void save_config(const Paths& paths, const ConfigFile& config) {
  write_file_durably(config_path(paths, config.spec.name), config.text);
}

std::string live_config_path(const Paths& paths, const std::string& name) {
  return paths.runtime(name) + "/live.toml";
}

void replace_config(const Installation& installation, const StoredContainer& stored,
                    const ConfigFile& config) {
  const ContainerSpec& before = stored.config.spec;
  const ContainerSpec& after = config.spec;
  if (before.root.kind != after.root.kind || before.root.template_name != after.root.template_name ||
      before.security.user_namespace != after.security.user_namespace)
    throw Error(fmt::format("container '{}' exists with another root or user_namespace, which cannot change",
                            stored.name))
        .hint(fmt::format("'holm destroy {}' first, or use another name", stored.name));
  check_root(installation, after.root);
  save_config(installation.paths, config);
}

void remove_container_files(const Paths& paths, const std::string& name, RunDirectory run_directory) {
  const std::string doomed = fmt::format("{}/.{}.destroyed", paths.containers(), name);
  step("unname the container's directory", [&] {
    sys::remove_tree(doomed);  // of an interrupted destroy
    if (container_exists(paths, name)) sys::rename(paths.container(name), doomed);
  });
  step("give back number and addresses", [&] {
    LeaseDirectory numbers(paths.numbers());
    for (const auto& [number, owner] : numbers.holders()) {
      if (owner == name) numbers.release(number, name);
    }
    release_addresses(paths, name);
  });
  step("remove the container's directory", [&] { sys::remove_tree(doomed); });
  if (run_directory == RunDirectory::keep) return;
  step("remove the run directory", [&] { sys::remove_tree(paths.runtime(name)); });
}

void rename_container_files(const Paths& paths, const std::string& from, const std::string& to) {
  step("rewrite the name in the config", [&] {
    const std::string text = read_file(config_path(paths, from));
    write_file_durably(config_path(paths, from), replace_in_config(text, {"name", toml_text(to)}));
  });
  step("rename the container's directory", [&] {
    sys::rename_new(paths.container(from), paths.container(to));
    sync_directory(paths.containers());
  });
  step("rename the reservations", [&] {
    LeaseDirectory numbers(paths.numbers());
    for (const auto& [number, owner] : numbers.holders()) {
      if (owner == from) numbers.rename_owner(number, to);
    }
    rename_addresses(paths, from, to);
    sys::remove_tree(paths.runtime(from));
  });
}

std::vector<std::string> users_of_template(const Installation& installation,
                                           const std::string& template_name) {
  std::vector<std::string> users;
  for (const std::string& name : container_names(installation.paths)) {
    // A container whose config cannot be read might use it: it counts as a user, so that nothing is pulled
    // from under it.
    bool uses = true;
    ignore_errors([&] {
      const RootSpec root = load_container(installation, name).config.spec.root;
      uses = root.kind == RootKind::template_overlay && root.template_name == template_name;
    });
    if (uses) users.push_back(name);
  }
  return users;
}

}  // namespace holm::runtime
