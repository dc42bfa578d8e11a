// Users and groups of a container, from the texts of its own /etc/passwd and /etc/group. Both are the
// container's root's to write, so they are hostile input.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace holm::isolation {

inline constexpr uint32_t kHighestContainerId = 65535;

struct ContainerUser {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;      // supplementary, sorted; the primary one is among them
  std::string name;               // empty where the number is not listed
  std::string home = "/";         // absolute
  std::string shell = "/bin/sh";  // absolute
};

// Finds "name", "name:group", "uid" or "uid:gid" (group: a name or a number).
// - A text of digits is always a number, so that a user named "1000" with uid 0 cannot be what "1000" means.
// - Numbers are decimal, 0..65535, without sign, blanks or leading zeros; anything like a number but not one
// is refused.
// - A group that is named is the only one; without one the user has his own and those that list him.
// - A uid that is not listed has the gid of the same number: docker takes 0 there, whose members may write
// more files.
// - "root" is 0:0 also where no file lists it.
// Lines that are not well formed do not count, nor do lines beyond the 65536th. Throws where there is no such
// user or group, or where it has an id above 65535.
ContainerUser find_user(const std::string& wanted, std::string_view passwd, std::string_view group);

}  // namespace holm::isolation
