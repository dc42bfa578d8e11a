#include "checkpoint/confinement.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/image_processes.h"
#include "checkpoint/process_status.h"
#include "isolation/id_map.h"

namespace holm::checkpoint {
namespace {

std::string namespace_of(pid_t pid, const char* kind) {
  return sys::read_link(fmt::format("/proc/{}/ns/{}", pid, kind));
}

Error beyond(pid_t pid, std::string_view what) {
  return Error(fmt::format("the restored process {} {}", pid, what))
      .hint("the checkpoint was tampered with, or this is a mistake in Holm; nothing of it has run");
}

// All processes of the pid namespace, whatever group they are in.
std::vector<pid_t> members_of(const std::string& pid_namespace) {
  std::vector<pid_t> members;
  for (const std::string& name : list_directory("/proc")) {
    const auto pid = parse_unsigned(name);
    if (!pid || *pid > INT32_MAX) continue;
    ignore_errors([&] {  // it ended meanwhile; those of the checkpoint stand still
      if (namespace_of(static_cast<pid_t>(*pid), "pid") == pid_namespace)
        members.push_back(static_cast<pid_t>(*pid));
    });
  }
  return members;
}

void check_thread(pid_t pid, const std::string& directory, const ProcessRights& rights) {
  const auto status = read_process_status(directory);
  const auto value = [&](const char* key) {
    const auto found = status.find(key);
    return found == status.end() ? std::string() : found->second;
  };
  if (value("State").starts_with('Z')) return;
  const uint64_t bounding = std::stoull("0" + value("CapBnd"), nullptr, 16);
  if (bounding & ~rights.bounding.bits) throw beyond(pid, "has capabilities that the container has not");
  if (value("Seccomp") != "2") throw beyond(pid, "has no system call filter");
  if (rights.no_new_privs && value("NoNewPrivs") != "1") throw beyond(pid, "could get new privileges");
}

void check_process(pid_t pid, const std::string& user_namespace, const ProcessRights& rights) {
  const std::string tasks = fmt::format("/proc/{}/task", pid);
  for (const std::string& thread : list_directory(tasks)) check_thread(pid, tasks + "/" + thread, rights);
  if (namespace_of(pid, "user") != user_namespace)
    throw beyond(pid, "is not in the container's user namespace");
}

}  // namespace

void check_confinement(const runtime::StoredContainer& container, const quotas::Cgroup& cgroup, pid_t init) {
  const runtime::ContainerSpec& spec = container.config.spec;
  const ProcessRights rights = process_rights(spec);
  const std::string user_namespace = namespace_of(init, "user");
  for (const char* kind : {"user", "pid", "mnt", "ipc", "uts", "cgroup"}) {
    const bool is_shared = std::string_view(kind) == "user" && !spec.security.user_namespace;
    if (!is_shared && namespace_of(init, kind) == namespace_of(::getpid(), kind))
      throw beyond(init, fmt::format("is in the host's {} namespace", kind));
  }
  if (spec.security.user_namespace) {
    const auto words = [](std::string_view text) { return split_words(text); };
    for (const char* file : {"uid_map", "gid_map"})
      if (words(read_file(fmt::format("/proc/{}/{}", init, file))) !=
          words(isolation::id_map_text(container.identity.ids)))
        throw beyond(init, fmt::format("has another {} than the container", file));
  }
  const std::vector<pid_t> grouped = cgroup.processes();
  for (const pid_t pid : members_of(namespace_of(init, "pid"))) {
    // One that has ended and waits for its parent is in no group's list, and runs no more.
    if (read_process_status(fmt::format("/proc/{}", pid))["State"].starts_with('Z')) continue;
    if (!std::ranges::binary_search(grouped, pid)) throw beyond(pid, "is not in the container's cgroup");
    check_process(pid, user_namespace, rights);
  }
}

}  // namespace holm::checkpoint
