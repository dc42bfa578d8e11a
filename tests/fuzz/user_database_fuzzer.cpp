// A container's /etc/passwd and /etc/group are its root's to write. The input: what is asked for, a 0xff
// byte, the text of /etc/passwd, a 0xff byte, the text of /etc/group.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "isolation/user_database.h"

using namespace holm;

namespace {

std::string_view take_part(std::string_view& input) {
  const size_t end = input.find('\xff');
  const std::string_view part = input.substr(0, end);
  input.remove_prefix(end == input.npos ? input.size() : end + 1);
  return part;
}

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string wanted(take_part(input));
  const std::string_view passwd = take_part(input);
  const std::string_view group = take_part(input);
  try {
    const isolation::ContainerUser user = isolation::find_user(wanted, passwd, group);
    require(user.uid <= isolation::kHighestContainerId && user.gid <= isolation::kHighestContainerId);
    require(!user.groups.empty() && user.groups.size() <= isolation::kHighestContainerId + 1);
    for (const gid_t gid : user.groups) require(gid <= isolation::kHighestContainerId);
    require(user.home.starts_with('/') && user.home.find('\0') == user.home.npos);
    require(user.shell.starts_with('/') && user.shell.find('\n') == user.shell.npos);
  } catch (const Error& error) {
    require(!error.message().empty());
  }
  return 0;
}
