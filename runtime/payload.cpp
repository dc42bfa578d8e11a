#include "runtime/payload.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "isolation/capabilities.h"
#include "isolation/seccomp_filter.h"

namespace holm::runtime {
namespace {

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr unsigned kFirstUnsharedFd = 3;

// The program file that execve would take, as execvp(3) finds it; empty where there is none.
std::string find_in_path(const std::string& program, const std::vector<std::string>& environment) {
  if (program.find('/') != std::string::npos) return program;
  std::string_view path = kDefaultPath;
  for (const std::string& variable : environment) {
    if (variable.starts_with("PATH=")) path = std::string_view(variable).substr(5);
  }
  while (!path.empty()) {
    const std::string_view directory = path.substr(0, path.find(':'));
    const std::string candidate = fmt::format("{}/{}", directory, program);
    if (::access(candidate.c_str(), F_OK) == 0) return candidate;
    path.remove_prefix(std::min(path.size(), directory.size() + 1));
  }
  return {};
}

Error describe_exec_failure(int error_number, const std::string& program) {
  Error error = Error::system(error_number, fmt::format("execute '{}'", program));
  const bool is_there = ::access(program.c_str(), F_OK) == 0;
  error.exit_status(error_number == ENOENT && !is_there ? kExitNotFound : kExitNotExecutable);
  if (error_number == ENOENT && is_there)
    error.hint("its interpreter or dynamic loader is not in this root file system");
  if (error_number == EACCES) error.hint("it is no executable file, or lies on a file system mounted noexec");
  if (error_number == ENOEXEC)
    error.hint("it is no program of this machine's architecture; a script needs a '#!' line");
  return error;
}

// close-on-exec would come too late: for a moment within execve the process is already the container's to
// look at (its memory is new and dumpable) and its descriptors are not yet closed. Also catches what Holm's
// own starter left open.
void close_all_but(int kept) {
  const auto number = static_cast<unsigned>(kept);
  if (number > kFirstUnsharedFd) sys::close_range(kFirstUnsharedFd, number - 1);
  sys::close_range(number + 1);
}

}  // namespace

void hide_from_container() {
  if (::prctl(PR_SET_DUMPABLE, 0) != 0) throw Error::system("set not dumpable");
}

void become_container_root() {
  if (::setresgid(0, 0, 0) != 0) throw Error::system("become group 0 of the container");
  if (::setgroups(0, nullptr) != 0) throw Error::system("drop the host's groups");
  if (::setresuid(0, 0, 0) != 0) throw Error::system("become user 0 of the container");
  hide_from_container();
}

void join_new_keyring() {
  if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 && errno != ENOSYS)
    throw Error::system("make a session keyring");
}

isolation::ContainerUser find_user(const std::string& user) {
  const UniqueFd root = sys::open("/", O_PATH | O_DIRECTORY);
  const std::string passwd = read_file_in_root(root.get(), "/etc/passwd").value_or("");
  const std::string group = read_file_in_root(root.get(), "/etc/group").value_or("");
  return isolation::find_user(user, passwd, group);
}

std::vector<std::string> payload_environment(const isolation::ContainerUser& user,
                                             const std::map<std::string, std::string>& added) {
  std::map<std::string, std::string> variables = {
      {"PATH", kDefaultPath},
      {"HOME", user.home.empty() ? "/" : user.home},
      {"USER", user.name.empty() ? std::to_string(user.uid) : user.name},
      {"TERM", "linux"},
      {"container", "holm"}};
  for (const auto& [name, value] : added) variables[name] = value;
  std::vector<std::string> environment;
  for (const auto& [name, value] : variables) environment.push_back(name + "=" + value);
  return environment;
}

isolation::SeccompVariant seccomp_variant(const ContainerSpec& spec) {
  return spec.security.allow_io_uring ? isolation::SeccompVariant::with_io_uring
                                      : isolation::SeccompVariant::standard;
}

void drop_privileges(const ContainerSpec& spec, const isolation::ContainerUser& user) {
  if (spec.payload.kind == PayloadKind::command && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    throw Error::system("set no_new_privs");
  // Before the user changes: without no_new_privs a filter needs CAP_SYS_ADMIN (seccomp(2)).
  isolation::install_seccomp_filter(seccomp_variant(spec));
  isolation::become_payload(isolation::bounding_set(spec.security), {user.uid, user.gid, user.groups});
}

void execute_payload(const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
                     const std::string& workdir, int report) {
  if (::chdir(workdir.c_str()) != 0)
    throw Error::system(fmt::format("enter working directory '{}'", workdir));
  char resolved[4096];
  // The kernel answers "(unreachable)" for a directory outside of this root (CVE-2024-21626).
  if (!::getcwd(resolved, sizeof resolved) || resolved[0] != '/')
    throw Error(fmt::format("working directory '{}' is not inside the container", workdir));
  const std::string program = find_in_path(arguments.front(), environment);
  if (program.empty()) {
    Error error(
        fmt::format("execute '{}': there is no such program in the container's PATH", arguments.front()));
    throw error.exit_status(kExitNotFound);
  }
  std::vector<char*> words, variables;
  for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
  for (const std::string& variable : environment) variables.push_back(const_cast<char*>(variable.c_str()));
  words.push_back(nullptr);
  variables.push_back(nullptr);
  close_all_but(report);
  ::execve(program.c_str(), words.data(), variables.data());
  throw describe_exec_failure(errno, program);
}

}  // namespace holm::runtime
