#include "runtime/launch.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>

#include <cerrno>
#include <csignal>

#include "base/error.h"
#include "base/process.h"
#include "base/step.h"
#include "base/sys.h"
#include "isolation/mount_api.h"
#include "isolation/resource_limits.h"
#include "netsetup/container_link.h"
#include "runtime/host_side.h"
#include "runtime/root_mount.h"

namespace holm::runtime {
namespace {

using isolation::Depth;

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

  HostSide host = make_host_side(installation, container, undo);
  running.warnings = std::move(host.warnings);
  running.addresses = std::move(host.network.addresses);
  plan.cgroup_mounts = plan_cgroup_mounts(host.cgroup_layout);
  plan.links = std::move(host.network.links);
  plan.name_files = std::move(host.network.name_files);
  auto [host_end, container_end] = make_channel();
  quotas::CgroupEntry entry = host.cgroup->open_entry();
  plan.cgroup_tasks = std::move(entry.v1_tasks);
  NewProcess init = step("clone init", [&] {
    const isolation::UnlimitedNamespaces unlimited;
    return clone_init(spec, entry.v2_directory, plan, host_end, container_end);
  });
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
    step("mount the root", [&] { mount_root(installation, container, user_namespace.get()); });
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
  running.started_at = std::time(nullptr);
  return running;
}

}  // namespace holm::runtime
