// holm gc: everything of this installation that no container owns, found by the names of kernel objects
// alone.
#include <fmt/core.h>

#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/lease_directory.h"
#include "base/sys.h"
#include "base/text.h"
#include "netsetup/address_pool.h"
#include "netsetup/container_link.h"
#include "runtime/account.h"
#include "runtime/cleanup.h"
#include "runtime/lifecycle.h"
#include "runtime/network_plan.h"
#include "runtime/settle.h"
#include "storage/template_store.h"

namespace holm::runtime {
namespace {

class Collector {
 public:
  explicit Collector(const Installation& installation)
      : installation_(installation), paths_(installation.paths), layout_(quotas::detect_cgroup_layout()) {}

  GarbageReport run() {
    for (const std::string& name : container_names(paths_)) attempt(name, [&] { settle_one(name); });
    finish_interrupted_creates_and_destroys();
    attempt("numbers", [&] { release_numbers(); });
    attempt("addresses", [&] { release_ownerless_addresses(); });
    attempt("kernel objects", [&] { remove_ownerless_objects(); });
    attempt("run directories", [&] { remove_run_directories(); });
    attempt("unfinished files", [&] { remove_unfinished_files(); });
    attempt("templates", [&] { remove_template_leftovers(); });
    attempt("network", [&] { remove_unused_network(); });
    attempt("ledger", [&] {
      for (const std::string& problem : take_in_kept_samples(paths_)) report_.problems.push_back(problem);
    });
    return std::move(report_);
  }

 private:
  template <class Body>
  void attempt(const std::string& what, Body&& body) {
    try {
      body();
    } catch (const Error& error) {
      report_.problems.push_back(fmt::format("{}: {}", what, error.message()));
    }
  }

  // A container whose lock is taken is being worked on: its things are not garbage.
  std::optional<FileLock> try_lock(const std::string& name) {
    sys::make_directories(paths_.runtime(name), 0700);
    return FileLock::try_acquire(paths_.runtime(name) + "/lock");
  }

  void settle_one(const std::string& name) {
    if (const auto lock = try_lock(name)) settle(installation_, name);
  }

  void finish_interrupted_creates_and_destroys() {
    for (const std::string& entry : list_directory(paths_.containers())) {
      // ".work.PID.new", of a restore
      if (constexpr std::string_view kWork = ".work."; entry.starts_with(kWork) && entry.ends_with(".new")) {
        if (is_left_by(std::string_view(entry).substr(kWork.size(), entry.size() - kWork.size() - 4)))
          attempt(entry, [&] { sys::remove_tree(paths_.containers() + "/" + entry); });
        continue;
      }
      // ".NAME.new", ".NAME.destroyed"
      const size_t end = entry.rfind('.');
      if (entry.front() != '.' || end == 0) continue;
      const std::string name = entry.substr(1, end - 1);
      attempt(entry, [&] {
        if (!is_dns_label(name)) return;
        const auto lock = try_lock(name);
        if (!lock) return;
        sys::remove_tree(paths_.containers() + "/" + entry);
        report_.removed.push_back(fmt::format("files of container '{}'", name));
      });
    }
  }

  void release_numbers() {
    LeaseDirectory numbers(paths_.numbers());
    numbers.remove_leftovers();
    LeaseDirectory(paths_.addresses()).remove_leftovers();
    for (const auto& [number, owner] : numbers.holders()) {
      if (!is_dns_label(owner) || is_owned(number)) continue;
      const auto lock = try_lock(owner);
      if (!lock || is_owned(number)) continue;
      remove_kernel_objects(paths_, number, nullptr);
      numbers.release(number, owner);
      report_.removed.push_back(fmt::format("number {} of '{}'", number, owner));
    }
  }

  void release_ownerless_addresses() {
    std::set<std::string> owners;
    for (const auto& [slot, owner] : netsetup::address_owners(paths_.addresses()))
      owners.insert(container_of_address_owner(owner));
    for (const std::string& owner : owners) {
      if (!is_dns_label(owner) || container_exists(paths_, owner)) continue;
      const auto lock = try_lock(owner);
      if (!lock || container_exists(paths_, owner)) continue;
      release_addresses(paths_, owner);
      report_.removed.push_back(fmt::format("addresses of '{}'", owner));
    }
  }

  void remove_ownerless_objects() {
    std::set<uint32_t> numbers;
    for (const uint32_t number : quotas::cgroup_numbers(layout_, paths_.cgroup_parent()))
      numbers.insert(number);
    for (const auto& link : netsetup::list_links(link_prefix())) {
      const int64_t number = paths_.number_of_veth(link.name);
      if (number >= 0) numbers.insert(static_cast<uint32_t>(number));
    }
    // A reserved number belongs to a container or to one that is being made (its lock was not free above).
    const auto reserved = LeaseDirectory(paths_.numbers()).holders();
    for (const uint32_t number : numbers) {
      if (reserved.contains(number)) continue;
      attempt(fmt::format("container {}", number), [&] {
        remove_kernel_objects(paths_, number, nullptr);
        report_.removed.push_back(fmt::format("cgroup and links of number {}", number));
      });
    }
    quotas::remove_empty_parents(layout_, paths_.cgroup_parent());
  }

  void remove_run_directories() {
    for (const std::string& name : list_directory(paths_.run)) {
      if (!is_dns_label(name) || container_exists(paths_, name)) continue;
      const auto lock = try_lock(name);
      if (!lock || container_exists(paths_, name)) continue;
      sys::remove_tree(paths_.runtime(name));
    }
  }

  void remove_unfinished_files() {
    for (const std::string& tree : {paths_.state, paths_.run}) remove_unfinished(tree);
    for (const std::string& name : container_names(paths_)) {
      remove_unfinished(paths_.container(name));
      remove_unfinished(paths_.runtime(name));
    }
  }

  void remove_template_leftovers() {
    const auto leftovers = storage::TemplateStore(paths_.templates()).collect_leftovers();
    for (const std::string& name : leftovers.removed) report_.removed.push_back("template leftover " + name);
    report_.problems.insert(report_.problems.end(), leftovers.problems.begin(), leftovers.problems.end());
  }

  // The bridge and the table go with the last container.
  void remove_unused_network() {
    if (!container_names(paths_).empty()) return;
    const auto settings = host_network_settings(installation_);
    // A killed removal may have left the table without the bridge.
    if (!sys::exists("/sys/class/net/" + settings.bridge) && !sys::exists(paths_.state + "/network")) return;
    if (netsetup::remove_nat_network(settings) == netsetup::Removal::removed)
      report_.removed.push_back(
          fmt::format("bridge '{}' and firewall table '{}'", settings.bridge, settings.table));
  }

  bool is_owned(uint32_t number) const {
    for (const std::string& name : container_names(paths_)) {
      bool owned = true;  // a container whose identity cannot be read may own any number
      ignore_errors([&] { owned = load_identity(paths_, name).number == number; });
      if (owned) return true;
    }
    return false;
  }

  std::string link_prefix() const {
    const std::string name = paths_.veth(0);
    return name.substr(0, name.size() - 1);
  }

  const Installation& installation_;
  const Paths& paths_;
  quotas::CgroupLayout layout_;
  GarbageReport report_;
};

}  // namespace

GarbageReport collect_garbage(const Installation& installation) { return Collector(installation).run(); }

}  // namespace holm::runtime
