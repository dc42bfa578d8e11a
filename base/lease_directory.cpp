#include "base/lease_directory.h"

#include <fcntl.h>
#include <fmt/core.h>

#include <cerrno>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"

namespace holm {

std::string LeaseDirectory::file_of(uint32_t number) const { return fmt::format("{}/{}", path_, number); }

bool LeaseDirectory::take(uint32_t number, const std::string& owner) {
  const std::string path = file_of(number);
  // The owner's name is complete before the number's name appears: link(2) fails where the number is held.
  const std::string temporary = fmt::format("{}/.{}.{}", path_, number, ::getpid());
  {
    const UniqueFd fd = sys::open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    sys::write_all(fd.get(), owner, temporary);
    sys::sync_fd(fd.get(), temporary);
  }
  const int linked = ::link(temporary.c_str(), path.c_str());
  const int link_error = errno;
  sys::remove_file(temporary);
  if (linked != 0 && link_error == EEXIST) return false;
  if (linked != 0) throw Error::system(link_error, fmt::format("make '{}'", path));
  sync_directory(path_);
  return true;
}

std::optional<uint32_t> LeaseDirectory::acquire(const std::string& owner, uint32_t first, uint32_t last,
                                                std::optional<uint32_t> preferred) {
  sys::make_directories(path_, 0700);
  const auto held = holders();
  if (preferred && *preferred >= first && *preferred <= last && !held.contains(*preferred) &&
      take(*preferred, owner))
    return preferred;
  for (uint64_t number = first; number <= last; ++number) {
    const auto candidate = static_cast<uint32_t>(number);
    if (!held.contains(candidate) && take(candidate, owner)) return candidate;
  }
  return std::nullopt;
}

void LeaseDirectory::release(uint32_t number, const std::string& owner) {
  const auto holder = read_file_if_exists(file_of(number));
  if (holder && *holder == owner) sys::remove_file(file_of(number));
}

void LeaseDirectory::rename_owner(uint32_t number, const std::string& owner) {
  write_file_durably(file_of(number), owner);
}

std::map<uint32_t, std::string> LeaseDirectory::holders() const {
  std::map<uint32_t, std::string> out;
  for (const std::string& name : list_directory(path_)) {
    const auto number = parse_unsigned(name);
    if (!number || *number > UINT32_MAX) continue;  // a temporary file of a killed process
    std::string owner;
    ignore_errors(
        [&] { owner = read_file(file_of(static_cast<uint32_t>(*number))); });  // unreadable still is held
    out.emplace(static_cast<uint32_t>(*number), owner);
  }
  return out;
}

}  // namespace holm
