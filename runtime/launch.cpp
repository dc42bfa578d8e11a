#include "runtime/launch.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <thread>

#include "base/error.h"
#include "base/step.h"
#include "base/sys.h"
#include "isolation/mount_api.h"
#include "isolation/resource_limits.h"
#include "netsetup/container_link.h"
#include "runtime/closed_directory.h"
#include "runtime/container_limits.h"
#include "runtime/network_plan.h"
#include "storage/root_check.h"
#include "storage/template_store.h"

namespace holm::runtime {
namespace {

using isolation::Depth;

std::string root_path(const Paths& paths, const std::string& name) { return paths.runtime(name) + "/root"; }

// --- the container's cgroup namespace as mounts

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::vector<isolation::CgroupMount> plan_cgroup_mounts(const quotas::CgroupLayout& layout) {
  std::vector<isolation::CgroupMount> mounts;
  for (const auto& hierarchy : layout.hierarchies) {
    isolation::CgroupMount mount;
    mount.is_v2 = hierarchy.is_v2;
    if (layout.kind != quotas::CgroupLayout::Kind::v2) mount.directory = base_name(hierarchy.mount_point);
    const bool named = !hierarchy.controllers.empty() && hierarchy.controllers.front().starts_with("name=");
    if (named) mount.options.emplace_back("none");
    if (!hierarchy.is_v2)
      mount.options.insert(mount.options.end(), hierarchy.controllers.begin(), hierarchy.controllers.end());
    mount.writable = hierarchy.is_v2 || hierarchy.controllers == std::vector<std::string>{"name=systemd"};
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

// --- the root file system, in the monitor's mount namespace

// overlayfs separates layers by ':' and lets '\' quote it.
std::string quote_layer(const std::string& path) {
  std::string out;
  for (const char c : path) {
    if (c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

void attach_at(int mount, const std::string& path) {
  sys::make_directories(path, 0700);
  const UniqueFd target = sys::open(path, O_PATH | O_DIRECTORY);
  isolation::attach_mount(mount, target.get(), path);
}

UniqueFd make_overlay(const isolation::MountOptions& options) {
  // index=on refuses an upper directory that the mount namespace of a container which just ended still holds.
  for (int attempt = 0;; ++attempt) {
    try {
      return isolation::make_file_system("overlay", options, isolation::kNoDev, "root");
    } catch (const Error& error) {
      if (error.error_number() != EBUSY || attempt >= 200) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
}

void mount_template(const LaunchRequest& request, const std::string& template_name, int user_namespace) {
  const Paths& paths = request.installation->paths;
  const std::string& name = request.container->name;
  const UniqueFd template_root = storage::TemplateStore(paths.templates()).open_root(template_name);
  const UniqueFd lower = isolation::copy_mount(template_root.get(), "", Depth::one_mount);
  if (user_namespace >= 0)
    isolation::set_mount_id_map(lower.get(), user_namespace, Depth::one_mount, "template " + template_name);
  isolation::add_mount_flags(lower.get(), isolation::kReadOnly, Depth::one_mount,
                             "template " + template_name);
  const std::string lower_path = paths.runtime(name) + "/lower";
  attach_at(lower.get(), lower_path);
  // index and nfs_export let inotify watches and hard links survive a checkpoint.
  isolation::MountOptions options = {{"lowerdir", quote_layer(lower_path)},
                                     {"upperdir", quote_layer(paths.container(name) + "/upper")},
                                     {"workdir", quote_layer(paths.container(name) + "/work")},
                                     {"index", "on"},
                                     {"nfs_export", "on"}};
  if (request.container->durability == Durability::until_reboot) {
    // Without it each unmount waits until the whole file system below is synced; what a crash loses is
    // garbage then.
    options.emplace_back("volatile", "");
    sys::remove_tree(paths.container(name) +
                     "/work/work/incompat");  // the mark of this container's previous run
  }
  const UniqueFd overlay = make_overlay(options);
  attach_at(overlay.get(), root_path(paths, name));
}

void mount_directory(const LaunchRequest& request, const std::string& directory, int user_namespace) {
  const UniqueFd source = sys::open(directory, O_PATH | O_DIRECTORY);
  storage::check_root_file_system(source.get(), directory);
  if (user_namespace >= 0) require_closed_directory(directory);
  const UniqueFd copy = isolation::copy_mount(source.get(), "", Depth::one_mount);
  try {
    if (user_namespace >= 0)
      isolation::set_mount_id_map(copy.get(), user_namespace, Depth::one_mount, directory);
  } catch (Error& error) {
    throw error.hint(
        "the file system of 'root' must support id-mapped mounts; import it as a template instead");
  }
  isolation::add_mount_flags(copy.get(), isolation::kNoDev, Depth::one_mount, directory);
  attach_at(copy.get(), root_path(request.installation->paths, request.container->name));
}

void mount_root(const LaunchRequest& request, int user_namespace) {
  const RootSpec& root = request.container->config.spec.root;
  if (root.kind == RootKind::template_overlay) {
    mount_template(request, root.template_name, user_namespace);
  } else {
    mount_directory(request, root.directory, user_namespace);
  }
}

UniqueFd copy_bind_mount(const MountSpec& mount, int user_namespace) {
  if (user_namespace >= 0 && !mount.readonly) require_closed_directory(mount.source);
  UniqueFd copy = isolation::copy_mount(AT_FDCWD, mount.source, Depth::whole_tree);
  try {
    if (user_namespace >= 0)
      isolation::set_mount_id_map(copy.get(), user_namespace, Depth::whole_tree, mount.source);
  } catch (Error& error) {
    throw error.hint(
        "this file system does not support id-mapped mounts, so the container's root could own nothing on "
        "it");
  }
  const unsigned flags =
      isolation::kNoDev | isolation::kNoSuid | (mount.readonly ? isolation::kReadOnly : 0U);
  isolation::add_mount_flags(copy.get(), flags, Depth::whole_tree, mount.source);
  return copy;
}

// --- the new process

uint64_t namespace_flags(const ContainerSpec& spec) {
  uint64_t flags = CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC;
  if (spec.security.user_namespace) flags |= CLONE_NEWUSER;
  if (spec.networks.front().mode != netsetup::NicMode::host) flags |= CLONE_NEWNET;
  if (sys::exists("/proc/self/ns/time_for_children")) flags |= CLONE_NEWTIME;
  return flags;
}

struct NewProcess {
  pid_t pid = 0;
  UniqueFd pidfd;
};

NewProcess clone_init(const ContainerSpec& spec, const UniqueFd& cgroup_v2, InitPlan& plan, Channel& host_end,
                      Channel& container_end) {
  int pidfd = -1;
  clone_args arguments = {};
  arguments.flags = namespace_flags(spec) | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  if (cgroup_v2) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<uint64_t>(cgroup_v2.get());
  }
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) {
    Error error = Error::system("make the container's namespaces");
    if (error.error_number() == ENOSPC || error.error_number() == EUSERS)
      error.hint("a limit in /proc/sys/user/max_*_namespaces is reached");
    throw error;
  }
  if (pid == 0) {
    host_end = Channel(UniqueFd());
    run_init(plan, container_end);
  }
  return {static_cast<pid_t>(pid), UniqueFd(pidfd)};
}

void kill_and_reap(int pidfd) {
  sys::pidfd_signal(pidfd, SIGKILL);
  siginfo_t info = {};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED) != 0 && errno == EINTR) {
  }
}

// The link of a run that just ended may still be on its way out with its network namespace.
void attach_anew(const netsetup::LinkPlan& link, int network_namespace) {
  try {
    netsetup::attach(link, network_namespace);
  } catch (const Error& error) {
    if (error.error_number() != EEXIST) throw;
    netsetup::detach(link.host_name);
    netsetup::attach(link, network_namespace);
  }
}

void make_links(const std::vector<netsetup::LinkPlan>& links, pid_t init, UndoStack& undo) {
  if (links.empty()) return;
  const UniqueFd network_namespace = sys::open(fmt::format("/proc/{}/ns/net", init), O_RDONLY);
  for (const netsetup::LinkPlan& link : links) {
    attach_anew(link, network_namespace.get());
    undo.push("remove link " + link.host_name, [name = link.host_name] { netsetup::detach(name); });
  }
}

// Where the container half failed first, its report explains more than what that broke on our side.
void throw_report_of_init(Channel& channel) {
  pollfd wanted = {channel.fd(), POLLIN, 0};
  while (::poll(&wanted, 1, 0) > 0) {
    const auto received = channel.receive();
    if (!received) return;
    if (received->message == Message::failed) throw Error::decode(received->text);
  }
}

}  // namespace

std::unique_ptr<quotas::Cgroup> container_cgroup(const Paths& paths, uint32_t number) {
  return quotas::make_cgroup(quotas::detect_cgroup_layout(), paths.cgroup_parent(), number);
}

void enter_private_mounts() {
  sys::unshare(CLONE_NEWNS, "mount namespace");
  // Slave, not private: what the host unmounts must not stay busy because of us.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    throw Error::system("make mounts follow the host's");
}

void release_root(const std::string& run_directory) {
  for (const char* name : {"/root", "/lower"}) ::umount2((run_directory + name).c_str(), MNT_DETACH);
}

RunningInit launch(LaunchRequest& request, UndoStack& undo) {
  const Installation& installation = *request.installation;
  const StoredContainer& container = *request.container;
  const ContainerSpec& spec = container.config.spec;
  const isolation::IdRange& ids = container.identity.ids;
  const bool own_ids = spec.security.user_namespace;
  RunningInit running;
  InitPlan plan;
  plan.spec = &spec;
  plan.root_path = root_path(installation.paths, container.name);
  plan.stdio = std::move(request.stdio);
  if (plan.stdio.console)
    plan.stdio.console_mount = isolation::copy_mount(plan.stdio.console.get(), "", Depth::one_mount);

  const quotas::CgroupLayout layout = quotas::detect_cgroup_layout();
  plan.cgroup_mounts = plan_cgroup_mounts(layout);
  const auto cgroup =
      quotas::make_cgroup(layout, installation.paths.cgroup_parent(), container.identity.number);
  step("make cgroup", [&] { cgroup->create(); });
  undo.push("remove cgroup", [&installation, number = container.identity.number] {
    container_cgroup(installation.paths, number)->remove();
  });
  step("write limits", [&] { running.warnings = apply_limits(installation.paths, spec, *cgroup); });
  step("restrict devices", [&] { cgroup->restrict_devices(quotas::default_device_rules()); });
  step("delegate cgroup", [&] {
    const uint32_t owner = own_ids ? ids.first : 0;
    cgroup->delegate(owner, owner);
  });

  step("plan network", [&] {
    NetworkPlan network = plan_network(installation, container);
    plan.links = std::move(network.links);
    plan.name_files = std::move(network.name_files);
    running.addresses = std::move(network.addresses);
  });
  auto [host_end, container_end] = make_channel();
  quotas::CgroupEntry entry = cgroup->open_entry();
  plan.cgroup_tasks = std::move(entry.v1_tasks);
  NewProcess init =
      step("clone init", [&] { return clone_init(spec, entry.v2_directory, plan, host_end, container_end); });
  // The undo outlives this function's own descriptor.
  const auto doomed = std::make_shared<UniqueFd>(sys::duplicate(init.pidfd.get()));
  undo.push("kill init", [doomed] { kill_and_reap(doomed->get()); });
  container_end = Channel(UniqueFd());
  running.process = identify_process(init.pid);
  step("record init", [&] { request.on_created(running.process); });

  try {
    UniqueFd user_namespace;
    if (own_ids) {
      step("write the id map", [&] { isolation::write_id_map(init.pid, ids); });
      user_namespace = sys::open(fmt::format("/proc/{}/ns/user", init.pid), O_RDONLY);
    }
    host_end.send(Message::ids_mapped);
    undo.push("unmount the root",
              [directory = installation.paths.runtime(container.name)] { release_root(directory); });
    step("mount the root", [&] { mount_root(request, user_namespace.get()); });
    std::vector<UniqueFd> binds;
    std::vector<int> bind_numbers;
    step("copy host directories", [&] {
      for (const MountSpec& mount : spec.mounts)
        binds.push_back(copy_bind_mount(mount, user_namespace.get()));
      for (const UniqueFd& bind : binds) bind_numbers.push_back(bind.get());
    });
    host_end.send(Message::root_ready, "", bind_numbers);
    step("make links", [&] { make_links(plan.links, init.pid, undo); });
    step("set resource limits", [&] { isolation::apply_resource_limits(spec.resource_limits, init.pid); });
    host_end.send(Message::host_ready);
    host_end.expect(Message::executing);
    // End of file: execve closed the socket. An Error instead tells why it did not.
    if (const auto late = host_end.receive()) throw Error::decode(late->text);
  } catch (Error& error) {
    throw_report_of_init(host_end);
    throw;
  }
  running.pidfd = std::move(init.pidfd);
  return running;
}

}  // namespace holm::runtime
