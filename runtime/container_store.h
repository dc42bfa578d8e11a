// The containers of this installation on disk: /var/lib/holm/containers/NAME and what is reserved for each.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/file_lock.h"
#include "base/undo.h"
#include "isolation/id_map.h"
#include "runtime/config_file.h"
#include "runtime/host_settings.h"
#include "runtime/paths.h"

namespace holm::runtime {

// What a container is given once, at its creation, and keeps until it is destroyed.
struct Identity {
  uint32_t number = 0;
  isolation::IdRange ids;
  std::string uuid;  // never another container's, whatever becomes of its name and its number
};

struct StoredContainer {
  std::string name;
  Identity identity;
  ConfigFile config;
  Durability durability = Durability::survives_crash;
};

// Everything that verbs need to know of the installation and the host.
struct Installation {
  Paths paths;
  HostSettings settings;
  HostFacts facts;
};
Installation open_installation();

// Serializes the verbs that change the container of a name, or make it. Waits up to 30 s for another verb to
// end. Makes the run directory, which holds the lock.
FileLock lock_name(const Paths& paths, const std::string& name);
// The same for a container that must exist: throws as require_container does, and leaves no run directory
// then.
FileLock lock_container(const Paths& paths, const std::string& name);

// Held while a config changes, and while a monitor restarts a container with what it finds there: a restart
// takes all of a change or nothing. The run directory must be there.
FileLock lock_config(const Paths& paths, const std::string& name);

bool container_exists(const Paths& paths, const std::string& name);
// Names of all containers, also of damaged ones.
std::vector<std::string> container_names(const Paths& paths);
// Throws "there is no container 'NAME'" with a hint to what was probably meant.
void require_container(const Paths& paths, const std::string& name);

// Makes the container of a config on disk: number, id range, directories, config.toml. Either all of it is
// there afterwards or nothing. The caller holds the container's lock. One that is made `until_reboot` costs
// no wait for the disk and is never started after the next boot, when its reservations may have been lost:
// then it is garbage. `uuid`: that of the container which it was before, elsewhere or here; a new one where
// it is empty or another container has it.
Identity create_container(const Installation& installation, const ConfigFile& config,
                          Durability durability = Durability::survives_crash, const std::string& uuid = "");
// The lock of a name without a container leaves a run directory, which this removes. The caller holds the
// lock.
void remove_unused_run_directory(const Paths& paths, const std::string& name);
// True for a container that was made for an earlier boot only.
bool is_outlived(const Paths& paths, const std::string& name);
// Reads and validates what is stored.
StoredContainer load_container(const Installation& installation, const std::string& name);
// The same of a running container: what its run was given, which stands in the run directory. The stored
// config, which the next start takes, may say something else by now.
StoredContainer load_running_container(const Installation& installation, const std::string& name);
// Replaces the stored config of a container, durably. The caller holds the container's lock.
void save_config(const Paths& paths, const ConfigFile& config);
std::string live_config_path(const Paths& paths, const std::string& name);
Identity load_identity(const Paths& paths, const std::string& name);
// Changes whenever another container has the name: cheaper to compare than the identity; "" for none.
std::string identity_stamp(const Paths& paths, const std::string& name);
// Takes a changed config file for a container that is not running; root and user_namespace cannot change.
void replace_config(const Installation& installation, const StoredContainer& stored,
                    const ConfigFile& config);
// Removes all of a container's files and reservations. Safe to repeat, and continued by gc if it was
// interrupted.
enum class RunDirectory { remove, keep };  // keep: the caller goes on with the lock in it
void remove_container_files(const Paths& paths, const std::string& name,
                            RunDirectory run_directory = RunDirectory::remove);
void rename_container_files(const Paths& paths, const std::string& from, const std::string& to);

// Containers whose root is the template.
std::vector<std::string> users_of_template(const Installation& installation,
                                           const std::string& template_name);

}  // namespace holm::runtime
