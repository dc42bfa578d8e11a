#include "checkpoint/restore_source.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/step.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/confinement.h"
#include "checkpoint/criu_request.h"
#include "checkpoint/criu_rpc.pb.h"
#include "checkpoint/event_semaphores.h"
#include "checkpoint/external_objects.h"
#include "checkpoint/firewall_rules.h"
#include "checkpoint/image_gate.h"
#include "checkpoint/image_repair.h"
#include "checkpoint/image_sockets.h"
#include "checkpoint/message_queues.h"
#include "checkpoint/message_queues.pb.h"
#include "checkpoint/new_identity.h"
#include "checkpoint/store.h"
#include "isolation/mount_api.h"
#include "isolation/resource_limits.h"
#include "netsetup/container_link.h"
#include "netsetup/firewall.h"
#include "netsetup/network_settings.h"
#include "runtime/container_limits.h"
#include "runtime/handshake.h"
#include "runtime/host_side.h"
#include "runtime/restore_moment.h"
#include "runtime/root_mount.h"
#include "runtime/upper_swap.h"

namespace holm::checkpoint {
namespace {

using runtime::Installation;
using runtime::LaunchRequest;
using runtime::RunningInit;
using runtime::StoredContainer;

constexpr const char* kBinds = "/mnt";

class Restore {
 public:
  Restore(const RestoreSource& source, LaunchRequest& request, UndoStack& undo)
      : source_(source),
        request_(request),
        undo_(undo),
        installation_(*request.installation),
        container_(*request.container),
        run_directory_(installation_.paths.runtime(container_.name)),
        first_id_(container_.config.spec.security.user_namespace ? container_.identity.ids.first : 0) {}

  RunningInit run();

 private:
  void ease_limits();
  void mount_file_systems();
  void mount_binds(int user_namespace);
  void make_links();
  void prepare_images();
  void fill_request(rpc::Options& request);
  void restore_processes();
  void handle(const std::string& event, pid_t pid);
  void on_event(const std::string& event, pid_t pid);
  void on_namespaces(pid_t pid);
  void set_up_network();
  void connect_links();
  void warn(std::vector<std::string> warnings);
  void let_run();

  const RestoreSource& source_;
  LaunchRequest& request_;
  UndoStack& undo_;
  const Installation& installation_;
  StoredContainer container_;  // with the network identity that it was saved with
  std::string run_directory_;
  uint32_t first_id_;
  Manifest manifest_;
  std::unique_ptr<WorkDirectory> images_;
  std::vector<UniqueFd> inherited_;
  runtime::HostSide host_;
  RunningInit running_;
  UniqueFd network_;  // its namespace, where it has one
  std::string firewall_rules_;
  std::vector<saved::Queue> queues_;
  bool holds_output_ = false;
};

// The container's end waits here under this name until CRIU moves it.
std::string waiting_name(const netsetup::LinkPlan& link) { return link.host_name + "c"; }

// Addresses that the config leaves to the pool are those that the processes know; the pool refuses them where
// they are another container's by now.
void take_saved_identity(runtime::ContainerSpec& spec, const Manifest& manifest) {
  for (auto& nic : spec.networks) {
    const auto saved = std::ranges::find(manifest.links, nic.name, &SavedLink::name);
    if (saved == manifest.links.end()) continue;
    if (!nic.mac) nic.mac = netsetup::parse_mac(saved->mac);
    if (!nic.addresses.empty()) continue;
    for (const std::string& text : saved->addresses)
      if (const auto address = netsetup::parse_interface_address(text)) nic.addresses.push_back(*address);
  }
}

RunningInit Restore::run() {
  step("read the manifest", [&] { manifest_ = read_manifest(source_.directory); });
  if (!source_.new_identity) take_saved_identity(container_.config.spec, manifest_);
  host_ = runtime::make_host_side(installation_, container_, undo_);
  running_.warnings = std::move(host_.warnings);
  running_.addresses = host_.network.addresses;
  step("ease limits", [&] { ease_limits(); });
  step("make the container's cgroups",
       [&] { quotas::restore_groups(*host_.cgroup, manifest_.groups, first_id_); });
  mount_file_systems();
  step("make links", [&] { make_links(); });
  step("prepare the images", [&] { prepare_images(); });
  restore_processes();
  return std::move(running_);
}

// What CRIU does for the container counts as the container's: its helpers as processes, its work as CPU time.
// No program of the container's runs meanwhile. How much memory the images may make it take stays limited.
void Restore::ease_limits() {
  runtime::ContainerSpec spec = container_.config.spec;
  spec.limits.pids.reset();
  spec.limits.cpu.cap_percent = spec.limits.cpu.burst_percent = 0;
  runtime::apply_limits(installation_.paths, spec, *host_.cgroup);
}

void Restore::mount_file_systems() {
  undo_.push("unmount the root", [directory = run_directory_] { runtime::release_root(directory); });
  UniqueFd user_namespace;
  if (first_id_ != 0) user_namespace = isolation::make_user_namespace_fd(container_.identity.ids);
  if (!source_.upper.empty()) {
    undo_.push("put the old files back",
               [paths = installation_.paths, name = container_.name] { runtime::settle_upper(paths, name); });
    runtime::put_upper_in_place(installation_.paths, container_, source_.upper);
    undo_.push("unmount the root", [directory = run_directory_] { runtime::release_root(directory); });
  }
  step("mount the root", [&] { runtime::mount_root(installation_, container_, user_namespace.get()); });
  step("copy host directories", [&] { mount_binds(user_namespace.get()); });
}

// CRIU finds what is mounted from outside by path, in this mount namespace, which is the monitor's own, and
// as the container's root, to which the run directory is closed. So they stand on a tmpfs over a directory
// that every host has.
void Restore::mount_binds(int user_namespace) {
  const auto& mounts = container_.config.spec.mounts;
  if (mounts.empty()) return;
  std::vector<UniqueFd> copies;
  for (const auto& mount : mounts) copies.push_back(runtime::copy_bind_mount(mount, user_namespace));
  const UniqueFd tmpfs =
      isolation::make_file_system("tmpfs", {{"mode", "0755"}, {"size", "64k"}},
                                  isolation::kNoSuid | isolation::kNoDev, "host directories");
  isolation::attach_mount(tmpfs.get(), sys::open(kBinds, O_PATH | O_DIRECTORY).get(), kBinds);
  undo_.push("unmount host directories", [] { ::umount2(kBinds, MNT_DETACH); });
  for (size_t i = 0; i < mounts.size(); ++i) {
    const std::string name = std::to_string(i);
    if (S_ISDIR(sys::stat_fd(copies[i].get(), mounts[i].source).st_mode)) {
      sys::make_directory_at(tmpfs.get(), name, 0755);
    } else {
      sys::open_at(tmpfs.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
    }
    const UniqueFd target = sys::open_at(tmpfs.get(), name, O_PATH | O_NOFOLLOW);
    isolation::attach_mount(copies[i].get(), target.get(), mounts[i].target);
  }
}

void Restore::make_links() {
  if (host_.network.links.empty()) return;
  const UniqueFd here = sys::open("/proc/self/ns/net", O_RDONLY);
  for (netsetup::LinkPlan link : host_.network.links) {
    link.container_name = waiting_name(link);
    // Not in the bridge before the sockets are there: packets for them would be answered with a reset.
    link.bridge.clear();
    netsetup::detach(link.host_name);  // of a run that just ended
    netsetup::attach(link, here.get());
    undo_.push("remove link " + link.host_name, [name = link.host_name] { netsetup::detach(name); });
  }
}

// As other names of the same files, so that what is rewritten leaves the checkpoint as it is. The container's
// root reads them, as CRIU does after it has become that; nobody else of the host's users may.
void Restore::prepare_images() {
  const std::string original = source_.directory + "/images";
  images_ = std::make_unique<WorkDirectory>(runtime::checkpoint_store(installation_.paths, container_.name));
  images_->link_images(original);
  rewrite_images(images_->path(), container_, *host_.cgroup, manifest_.mounts);
  repair_timers(images_->path());
  queues_ = read_queues(images_->path());
  firewall_rules_ =
      take_firewall_rules(images_->path(), first_id_ == 0 ? isolation::IdRange{} : container_.identity.ids);
  for (const std::string& level : image_levels(images_->path())) {
    const UniqueFd directory = sys::open(level, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    for (const std::string& name : list_images(level)) {
      const UniqueFd file = sys::open_at(directory.get(), name, O_RDONLY | O_NOFOLLOW);
      sys::chown_fd(file.get(), 0, first_id_, name);
      sys::chmod_fd(file.get(), 0640, name);
    }
    sys::chown_fd(directory.get(), 0, first_id_, level);
    sys::chmod_fd(directory.get(), 0750, level);
  }
}

void Restore::fill_request(rpc::Options& request) {
  fill_common_options(request);
  request.set_root(runtime::root_path(installation_.paths, container_.name));
  request.set_rst_sibling(true);
  const auto inherit = [&](const std::string& key, UniqueFd fd) {
    rpc::InheritFd* entry = request.add_inherit_fd();
    entry->set_key(key);
    entry->set_fd(fd.get());
    inherited_.push_back(std::move(fd));
  };
  // One of its own for each: CRIU closes what it has taken.
  const auto own_console = [&] { return sys::duplicate(request_.stdio.console.get()); };
  std::string console;
  if (request_.stdio.console) {
    console = sys::read_link(fmt::format("/proc/self/fd/{}", request_.stdio.console.get()));
    if (!manifest_.console.empty()) inherit(manifest_.console, own_console());
    for (const std::string& pipe : manifest_.pipes) inherit(pipe, own_console());
  }
  for (EventSemaphore& semaphore : make_semaphores(images_->path()))
    inherit(semaphore.key, std::move(semaphore.fd));
  for (const ExternalMount& mount : manifest_.mounts)
    request.add_external(fmt::format(
        "mnt[{}]:{}", mount.key, source_of(mount, console, kBinds, container_.config.spec.mounts.size())));
  for (const auto& link : host_.network.links)
    request.add_external(fmt::format("netdev[{}]:{}", link.container_name, waiting_name(link)));
}

void Restore::restore_processes() {
  rpc::Request request;
  request.set_type(rpc::RESTORE);
  fill_request(*request.mutable_opts());
  CriuWork work;
  work.program = find_criu();
  work.images = images_->path();
  work.run_directory = run_directory_;
  work.lifetime = Lifetime::as_caller;
  for (const UniqueFd& fd : inherited_) work.inherited.push_back(fd.get());
  work.on_event = [&](const std::string& event, pid_t pid) { handle(event, pid); };
  work.watch = {request_.caller, [&] {
                  if (request_.caller >= 0 && runtime::has_hung_up(request_.caller))
                    throw Error("it was called off");
                }};
  undo_.push("kill what was restored", [paths = installation_.paths, number = container_.identity.number] {
    runtime::container_cgroup(paths, number)->kill_all(std::chrono::seconds(10));
  });
  const runtime::RestoreMoment moment(installation_.paths, container_.name);
  step("restore the processes", [&] {
    const isolation::UnlimitedNamespaces unlimited;  // its processes' limits are in the images
    perform(std::move(request), work);
  });
  if (!container_.config.spec.mounts.empty()) ::umount2(kBinds, MNT_DETACH);
  step("await the freeze", [&] { host_.cgroup->freeze(); });
  step("check what was restored",
       [&] { check_confinement(container_, *host_.cgroup, running_.process.pid); });
  step("let it run", [&] { let_run(); });
}

// Nothing of what CRIU holds runs when it is killed.
void Restore::handle(const std::string& event, pid_t pid) {
  try {
    on_event(event, pid);
  } catch (...) {
    ignore_errors([&] {  // the undoing tries again
      for (const auto& link : host_.network.links) netsetup::set_bridge(link.host_name, "");
      host_.cgroup->kill_all(std::chrono::seconds(10));
    });
    throw;
  }
}

void Restore::on_event(const std::string& event, pid_t pid) {
  if (event == "setup-namespaces") step("record init", [&] { on_namespaces(pid); });
  if (event == "post-setup-namespaces") {
    // Before that, as a nested group could make it wait for ever.
    step("make its message queues", [&] { make_queues(queues_, running_.process.pid, *host_.cgroup); });
    step("limit the container's cgroups",
         [&] { warn(quotas::restore_group_values(*host_.cgroup, manifest_.groups)); });
    step("set up its network namespace", [&] { set_up_network(); });
  }
  if (event == "network-unlock") step("connect the links", [&] { connect_links(); });
  // Credentials and filters are set behind "post-restore", and of "pre-resume" CRIU does not ask whether it
  // worked: so the processes come out of its hands frozen. Should we be killed before they are, they run:
  // files that came with the checkpoint are taken away from them then; others do not fit to it any more.
  if (event == "pre-resume" && manifest_.files == Files::in_place) request_.on_whole();
  if (event == "pre-resume") step("freeze what was restored", [&] { host_.cgroup->begin_freeze(); });
}

void Restore::on_namespaces(pid_t pid) {
  running_.pidfd = sys::pidfd_open(pid);
  running_.process = runtime::identify_process(pid);
  request_.on_created(running_.process);
}

// Before its sockets are made: some are bound to addresses that a renamed container had earlier.
void Restore::set_up_network() {
  if (container_.config.spec.networks.front().mode == netsetup::NicMode::host) return;
  network_ = sys::open(fmt::format("/proc/{}/ns/net", running_.process.pid), O_RDONLY);
  warn(netsetup::write_network_settings(network_.get(), manifest_.network_settings));
  netsetup::allow_foreign_binds(network_.get());
  if (!firewall_rules_.empty()) load_firewall_rules(running_.process.pid, firewall_rules_);
  holds_output_ = has_unsent_data(images_->path());
  if (holds_output_) netsetup::hold_output(network_.get());
}

void Restore::warn(std::vector<std::string> warnings) {
  for (std::string& warning : warnings) running_.warnings.push_back(std::move(warning));
}

void Restore::connect_links() {
  if (holds_output_) netsetup::let_output_go(network_.get());
  if (network_) netsetup::end_foreign_binds(network_.get(), manifest_.network_settings);
  if (source_.new_identity) give_new_identity(network_.get(), host_.cgroup->processes(), host_.network.links);
  // Peers must not hear that the connections are closed when what holds them is killed.
  undo_.push("silence the links", [links = host_.network.links] {
    for (const auto& link : links) netsetup::set_bridge(link.host_name, "");
  });
  for (const auto& link : host_.network.links) netsetup::set_bridge(link.host_name, link.bridge);
}

// What the processes change from here on makes a checkpoint untrue that goes with the files in place.
void Restore::let_run() {
  remove_names_of_queues(queues_, running_.process.pid);
  runtime::apply_limits(installation_.paths, container_.config.spec, *host_.cgroup);
  const int64_t away = std::max<int64_t>(0, std::time(nullptr) - manifest_.saved_at);
  running_.started_at = manifest_.started_at + away;
  // First: once they run, the death of this process must not be theirs.
  request_.before_it_runs(running_);
  if (manifest_.files == Files::in_place) {
    mark_untrue(source_.directory);
    undo_.push("take the mark back", [directory = source_.directory] { unmark_untrue(directory); });
  }
  if (!source_.upper.empty()) runtime::keep_new_upper(installation_.paths, container_.name);
  if (!source_.paused) host_.cgroup->thaw();
}

}  // namespace

RunningInit RestoreSource::operator()(LaunchRequest& request, UndoStack& undo) const {
  return Restore(*this, request, undo).run();
}

}  // namespace holm::checkpoint
