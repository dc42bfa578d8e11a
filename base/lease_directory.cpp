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

bool LeaseDirectory::take(uint32_t number, const std::string& owner, Durability durability) {
  const std::string path = file_of(number);
  if (::symlink(owner.c_str(), path.c_str()) != 0) {
    if (errno == EEXIST) return false;
    throw Error::system(fmt::format("make '{}'", path));
  }
  if (durability == Durability::survives_crash) sync_directory(path_);
  return true;
}

std::optional<uint32_t> LeaseDirectory::acquire(const std::string& owner, uint32_t first, uint32_t last,
                                                std::optional<uint32_t> preferred, Durability durability) {
  sys::make_directories(path_, 0700);
  const auto held = holders();
  const auto try_take = [&](uint32_t number) {
    return !held.contains(number) && take(number, owner, durability);
  };
  if (preferred && *preferred >= first && *preferred <= last && try_take(*preferred)) return preferred;
  for (uint64_t number = first; number <= last; ++number) {
    if (try_take(static_cast<uint32_t>(number))) return static_cast<uint32_t>(number);
  }
  return std::nullopt;
}

void LeaseDirectory::release(uint32_t number, const std::string& owner) {
  const auto held = holders();
  const auto holder = held.find(number);
  if (holder != held.end() && holder->second == owner) sys::remove_file(file_of(number));
}

void LeaseDirectory::rename_owner(uint32_t number, const std::string& owner) {
  const std::string temporary = fmt::format("{}/.{}.{}", path_, number, ::getpid());
  sys::remove_file(temporary);  // of a killed process with our pid
  if (::symlink(owner.c_str(), temporary.c_str()) != 0)
    throw Error::system(fmt::format("make '{}'", temporary));
  sys::rename(temporary, file_of(number));
  sync_directory(path_);
}

void LeaseDirectory::remove_leftovers() {
  for (const std::string& name : list_directory(path_)) {
    if (name.starts_with('.') && is_left_by(std::string_view(name).substr(name.rfind('.') + 1)))
      sys::remove_file(path_ + "/" + name);
  }
}

std::map<uint32_t, std::string> LeaseDirectory::holders() const {
  std::map<uint32_t, std::string> out;
  for (const std::string& name : list_directory(path_)) {
    const auto number = parse_unsigned(name);
    if (!number || *number > UINT32_MAX) continue;  // a temporary file of a killed process
    std::string owner;
    ignore_errors([&] {
      owner = sys::read_link(file_of(static_cast<uint32_t>(*number)));
    });  // unreadable still is held
    out.emplace(static_cast<uint32_t>(*number), owner);
  }
  return out;
}

}  // namespace holm
