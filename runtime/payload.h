// What `start` and `exec` do alike just before execve inside a container: user, rights, filter, program.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "isolation/seccomp_filter.h"
#include "isolation/user_database.h"
#include "runtime/spec.h"

namespace holm::runtime {

// Not ptraceable and without readable /proc/PID/fd until execve, so that nothing inside can take over a
// process that still holds descriptors of the host (CVE-2016-8649). The kernel takes it back when ids change,
// on hosts with fs.suid_dumpable = 1; what changes ids here renews it.
void hide_from_container();

// Becomes user and group 0 of the user namespace, without the host's groups.
void become_container_root();

// Keys of the session that started Holm must not be reachable from inside.
void join_new_keyring();

// Looks `user` up in the container's own /etc/passwd and /etc/group; runs inside, after the root switch.
isolation::ContainerUser find_user(const std::string& user);

// PATH, HOME, USER, TERM, container=holm and what the spec adds, as "NAME=value".
std::vector<std::string> payload_environment(const isolation::ContainerUser& user,
                                             const std::map<std::string, std::string>& added);

// no_new_privs (for commands), the system call filter, user, groups and capabilities, in the one order that
// works. Afterwards the process has the rights of the payload. Resource limits are the host half's (launch,
// exec).
void drop_privileges(const ContainerSpec& spec, const isolation::ContainerUser& user);

// The filter that such a payload gets.
isolation::SeccompVariant seccomp_variant(const ContainerSpec& spec);

// Closes all descriptors but the standard streams and `report`, the close-on-exec socket to the host's half,
// and executes the payload. Throws with exit status 126 (not executable) or 127 (not found).
[[noreturn]] void execute_payload(const std::vector<std::string>& arguments,
                                  const std::vector<std::string>& environment, const std::string& workdir,
                                  int report);

}  // namespace holm::runtime
