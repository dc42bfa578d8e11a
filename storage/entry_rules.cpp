#include "storage/entry_rules.h"

#include <fmt/core.h>

#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "base/unit.h"

namespace holm::storage {
namespace {

constexpr size_t kMaxComponent = 255;         // NAME_MAX
constexpr size_t kFileCapabilitiesSize = 20;  // struct vfs_cap_data of revision 2

// Enough of a name for a message.
std::string shown(std::string_view name) {
  return name.size() <= 200 ? printable(name) : printable(name.substr(0, 200)) + "...";
}

bool is_below(std::string_view path, std::string_view directory) {
  return path.starts_with(directory) && path.size() > directory.size() && path[directory.size()] == '/';
}

}  // namespace

std::string entry_path(std::string_view name) {
  std::string path;
  size_t depth = 0;
  for (size_t at = 0; at < name.size();) {
    const size_t end = std::min(name.find('/', at), name.size());
    const std::string_view part = name.substr(at, end - at);
    at = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") throw Error(fmt::format("entry '{}' leaves the root: '..' in its name", shown(name)));
    if (part.size() > kMaxComponent || ++depth > kMaxEntryDepth)
      throw Error(fmt::format("entry '{}' has a name that is too long or too deep", shown(name)));
    path += (path.empty() ? "" : "/");
    path += part;
  }
  if (path.size() > kMaxEntryName)
    throw Error(fmt::format("entry '{}' has a name that is too long", shown(name)));
  return path;
}

EntryDecision decide_entry(EntryKind kind, std::string_view path) {
  switch (kind) {
    case EntryKind::directory:
      return EntryDecision::take;
    case EntryKind::regular:
    case EntryKind::symbolic_link:
    case EntryKind::hard_link:
      if (path.empty()) throw Error("the root itself is not a directory");
      return EntryDecision::take;
    case EntryKind::character_device:
    case EntryKind::block_device:
      throw Error(fmt::format("entry '{}' is a device node", shown(path)))
          .hint("leave device nodes out (tar: --exclude='./dev/*'); each container gets a /dev of its own");
    case EntryKind::fifo:
    case EntryKind::socket:
      if (is_below(path, "dev") || is_below(path, "run") || is_below(path, "var/run"))
        return EntryDecision::leave_out;
      throw Error(fmt::format("entry '{}' is a {}", shown(path), kind == EntryKind::fifo ? "FIFO" : "socket"))
          .hint("leave it out: it means nothing without the processes that use it");
    case EntryKind::unknown:
      break;
  }
  throw Error(fmt::format("entry '{}' is of an unknown kind", shown(path)));
}

void check_owner(int64_t uid, int64_t gid, std::string_view path) {
  if (uid >= 0 && uid <= kMaxOwner && gid >= 0 && gid <= kMaxOwner) return;
  throw Error(fmt::format("entry '{}' belongs to {}:{}: a container has the ids 0 to {}", shown(path), uid,
                          gid, kMaxOwner));
}

bool take_change_attribute(const ReadRules& rules, std::string_view name, std::string& value) {
  if (name == "trusted.overlay.opaque") return value == "y";
  constexpr size_t kWithRoot = kFileCapabilitiesSize + sizeof(uint32_t);
  if (name != "security.capability" || value.size() != kWithRoot)
    return is_taken_attribute(name, value.size());
  // In the host's byte order of all machines that Holm runs on, as the kernel wants it: little-endian.
  uint32_t root = 0;
  std::memcpy(&root, value.data() + kFileCapabilitiesSize, sizeof root);
  if (root < rules.from_first || root - rules.from_first > kMaxOwner) return false;
  root = root - rules.from_first + rules.to_first;
  std::memcpy(value.data() + kFileCapabilitiesSize, &root, sizeof root);
  return true;
}

bool is_taken_attribute(std::string_view name, size_t value_size) {
  if (name == "security.capability") return value_size == kFileCapabilitiesSize;
  return name.starts_with("user.") && !name.starts_with("user.overlay.") && name.size() <= 255;
}

void ImportBudget::add_entry() {
  if (++entries_ > max_entries_) throw Error(fmt::format("it has more than {} entries", max_entries_));
}

void ImportBudget::check_bytes(int64_t bytes, std::string_view path) const {
  if (bytes < 0) throw Error(fmt::format("entry '{}' has a negative size", shown(path)));
  if (static_cast<uint64_t>(bytes) > max_bytes_ - bytes_)
    throw Error(fmt::format("entry '{}' takes it over {}", shown(path), describe_bytes(Bytes{max_bytes_})));
}

void ImportBudget::add_bytes(uint64_t bytes, std::string_view path) {
  check_bytes(bytes > INT64_MAX ? INT64_MAX : static_cast<int64_t>(bytes), path);
  bytes_ += bytes;
}

}  // namespace holm::storage
