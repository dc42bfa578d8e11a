#include "runtime/init.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/file.h"
#include "base/step.h"
#include "base/sys.h"
#include "isolation/mount_api.h"
#include "runtime/payload.h"
#include "runtime/service_rules.h"

namespace holm::runtime {
namespace {

void join_cgroups(const std::vector<UniqueFd>& tasks) {
  for (const UniqueFd& file : tasks) sys::write_all(file.get(), "0", "tasks");
}

void set_host_name(const std::string& name) {
  if (::sethostname(name.data(), name.size()) != 0)
    throw Error::system(fmt::format("set host name '{}'", name));
}

UniqueFd open_root(const std::string& path) {
  // A mount that came with the new mount namespace is locked; pivot_root wants one of this namespace's own.
  const UniqueFd copy = isolation::copy_mount(AT_FDCWD, path, isolation::Depth::whole_tree);
  const UniqueFd target = sys::open(path, O_PATH | O_DIRECTORY);
  isolation::attach_mount(copy.get(), target.get(), path);
  return sys::open(path, O_PATH | O_DIRECTORY);
}

void mount_file_systems(const InitPlan& plan, int root) {
  const bool host_network = plan.spec->networks.front().mode == netsetup::NicMode::host;
  isolation::mount_proc(root);
  const isolation::SysMode mode = host_network ? isolation::SysMode::of_host : isolation::SysMode::own;
  isolation::mount_sys(root, mode);
  isolation::mount_cgroups(root, plan.cgroup_mounts);
  isolation::mount_dev(root, plan.stdio.console_mount.get());
  isolation::mask_paths(root, mode);
}

void mount_binds(const ContainerSpec& spec, const std::vector<UniqueFd>& mounts, int root) {
  for (size_t i = 0; i < mounts.size() && i < spec.mounts.size(); ++i) {
    const std::string target_path = spec.mounts[i].target.substr(1);
    const bool directory = S_ISDIR(sys::stat_fd(mounts[i].get(), spec.mounts[i].source).st_mode);
    const UniqueFd target = directory ? isolation::open_mount_point(root, target_path)
                                      : isolation::open_mount_point_file(root, target_path);
    isolation::attach_mount(mounts[i].get(), target.get(), spec.mounts[i].target);
  }
}

// True where the container has a file of its own that must not be replaced.
bool is_own_file(int directory, const std::string& name) {
  struct stat status = {};
  if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return false;
  if (!S_ISREG(status.st_mode))
    return true;  // links (systemd-resolved's) and stranger things are the container's
  if (status.st_size == 0) return false;
  const UniqueFd file = sys::open_at(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  char start[kNameFileMark.size()] = {};
  const ssize_t size = ::read(file.get(), start, sizeof start);
  return size < 0 || !std::string_view(start, static_cast<size_t>(size)).starts_with(kNameFileMark);
}

// Where nothing changes nothing is written, so that a container with a full disk starts again.
bool has_content(int directory, const std::string& name, const std::string& content) {
  struct stat status = {};
  if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode))
    return false;
  const UniqueFd file = sys::open_at(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  std::string found(content.size() + 1, '\0');
  const ssize_t size = ::read(file.get(), found.data(), found.size());
  return size == static_cast<ssize_t>(content.size()) && found.compare(0, content.size(), content) == 0;
}

void write_name_file(int root, const NameFile& file) {
  const size_t slash = file.path.rfind('/');
  const std::string name = file.path.substr(slash + 1);
  const UniqueFd directory = sys::open_confined(root, file.path.substr(0, slash), O_RDONLY | O_DIRECTORY,
                                                sys::Confine::in_root_nolink);
  if (!file.over_own && is_own_file(directory.get(), name)) return;
  if (has_content(directory.get(), name, file.content)) return;
  // O_EXCL with a fresh name, then rename: nothing that stands there is opened or followed.
  const std::string temporary = name + ".holm-new";
  ::unlinkat(directory.get(), temporary.c_str(), 0);
  {
    const UniqueFd fd =
        sys::open_at(directory.get(), temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
    sys::write_all(fd.get(), file.content, file.path);
  }
  if (::renameat(directory.get(), temporary.c_str(), directory.get(), name.c_str()) != 0)
    throw Error::system(fmt::format("write '/{}' inside the container", file.path));
}

void write_name_files(const std::vector<NameFile>& files, int root) {
  for (const NameFile& file : files) {
    try {
      write_name_file(root, file);
    } catch (const Error& error) {
      if (error.error_number() != ENOENT && error.error_number() != EROFS)
        throw;  // a root without /etc, or read-only
    }
  }
}

void configure_network(const ContainerSpec& spec, const std::vector<netsetup::LinkPlan>& links) {
  for (const netsetup::LinkPlan& link : links) netsetup::configure_inside(link);
  if (spec.networks.front().mode == netsetup::NicMode::none) netsetup::configure_loopback();
}

void open_stdio(StdioPlan& stdio, PayloadKind kind) {
  if (::setsid() < 0) throw Error::system("start a session");
  for (int number = 0; number < 3; ++number) {
    const int source = stdio.streams[number] ? stdio.streams[number].get() : stdio.console.get();
    if (::dup2(source, number) < 0) throw Error::system(fmt::format("set up standard stream {}", number));
  }
  // An init hands its console to a login program, which could not take it while init's own session holds it.
  if (kind == PayloadKind::command && stdio.console && !stdio.streams[0] && ::ioctl(0, TIOCSCTTY, 0) != 0)
    throw Error::system("take the console as controlling terminal");
}

void build_and_execute(InitPlan& plan, Channel& channel) {
  const ContainerSpec& spec = *plan.spec;
  UniqueFd root;
  std::vector<UniqueFd> binds;
  isolation::ContainerUser user;
  step("join cgroups", [&] { join_cgroups(plan.cgroup_tasks); });
  step("await the id map", [&] { channel.expect(Message::ids_mapped); });
  step("set host name", [&] { set_host_name(spec.hostname); });
  step("await the root", [&] { binds = std::move(channel.expect(Message::root_ready).fds); });
  step("unshare mounts and cgroups", [&] {
    sys::unshare(CLONE_NEWNS | CLONE_NEWCGROUP, "mount and cgroup namespaces");
    isolation::make_mounts_private();
  });
  // Still as the host's user 0, to whom alone the run directory is open.
  step("open the root", [&] { root = open_root(plan.root_path); });
  step("become the container's root", [&] { become_container_root(); });
  step("make session keyring", [&] { join_new_keyring(); });
  step("mount file systems", [&] { mount_file_systems(plan, root.get()); });
  step("give service rules", [&] {
    if (spec.payload.kind == PayloadKind::init && spec.security.migratable) give_service_rules(root.get());
  });
  step("bind host directories", [&] { mount_binds(spec, binds, root.get()); });
  step("write names", [&] { write_name_files(plan.name_files, root.get()); });
  step("switch root", [&] { isolation::pivot_root_into(root.get()); });
  step("await the host", [&] { channel.expect(Message::host_ready); });
  step("configure network", [&] { configure_network(spec, plan.links); });
  step("find user", [&] { user = find_user(spec.payload.user); });
  step("open standard streams", [&] { open_stdio(plan.stdio, spec.payload.kind); });
  const auto environment = payload_environment(user, spec.payload.environment);
  step("drop privileges", [&] { drop_privileges(spec, user); });
  step("say that init executes", [&] { channel.send(Message::executing); });
  step("execute",
       [&] { execute_payload(spec.payload.arguments, environment, spec.payload.workdir, channel.fd()); });
}

}  // namespace

void run_init(InitPlan& plan, Channel& channel) {
  try {
    hide_from_container();
    sys::reset_inherited();
    build_and_execute(plan, channel);
  } catch (Error& error) {
    error.at("inside the container");
    ignore_errors(
        [&] { channel.send(Message::failed, error.encode()); });  // the other half is gone: nobody to tell
  } catch (const std::exception& failure) {
    ignore_errors([&] { channel.send(Message::failed, Error(failure.what()).encode()); });  // as above
  }
  ::_exit(kExitHolmFailed);
}

}  // namespace holm::runtime
