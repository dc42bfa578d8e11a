// What an imported archive or directory may bring into a template. Pure decisions: holm-unpack carries them
// out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace holm::storage {

inline constexpr uint64_t kDefaultMaxImportBytes = 64ULL << 30;
inline constexpr uint64_t kDefaultMaxImportEntries = 4'000'000;
inline constexpr uint64_t kMaxUnpackMemory = 256ULL << 20;
// Shorter than PATH_MAX, so that a template can be reached from the host below its own directory.
inline constexpr size_t kMaxEntryName = 3000;
// Removing a tree needs descriptors for every level.
inline constexpr size_t kMaxEntryDepth = 200;
inline constexpr int64_t kMaxOwner = 65535;  // a container's range has 65536 ids

// The entry's place below the root: "./usr//bin/" and "/usr/bin" are "usr/bin", "./" is "". Throws where it
// has a ".." or is too long. (An absolute name is meant relative to the root that the archive holds.)
std::string entry_path(std::string_view name);

enum class EntryKind {
  directory,
  regular,
  symbolic_link,
  hard_link,
  character_device,
  block_device,
  fifo,
  socket,
  unknown
};

enum class EntryDecision { take, leave_out };

// Throws, naming the entry, where it has no place in a template. FIFOs and sockets below dev/ and run/, which
// are empty in every container, are left out.
EntryDecision decide_entry(EntryKind kind, std::string_view path);

// Throws where an owner is outside of a container's range of ids.
void check_owner(int64_t uid, int64_t gid, std::string_view path);

// What is read: a root file system for a template, or what a container has changed of one.
struct ReadRules {
  // Changes are the upper layer of an overlay: they have whiteouts, opaque directories and FIFOs.
  bool is_changes = false;
  // Changes belong to the ids of the container that they were saved of, and get those of the one that they
  // are for.
  uint32_t from_first = 0;
  uint32_t to_first = 0;
};

// Of changes: attributes that are taken, with `value` made right for the new range: file capabilities name
// the user namespace that they hold in by its root's id. Of overlayfs's own only that a directory is opaque.
bool take_change_attribute(const ReadRules& rules, std::string_view name, std::string& value);

// Extended attributes that are taken: file capabilities of the first kind (a later one names a user
// namespace) and those of users, but for overlayfs's own. All others could steer the host (trusted.overlay.*,
// system.*).
bool is_taken_attribute(std::string_view name, size_t value_size);

// Counts entries and bytes against their bounds.
class ImportBudget {
 public:
  ImportBudget(uint64_t max_entries, uint64_t max_bytes) : max_entries_(max_entries), max_bytes_(max_bytes) {}

  // Both throw where the bound is exceeded.
  void add_entry();
  void add_bytes(uint64_t bytes, std::string_view path);
  // As add_bytes would, without counting.
  void check_bytes(int64_t bytes, std::string_view path) const;

  uint64_t entries() const { return entries_; }
  uint64_t bytes() const { return bytes_; }

 private:
  uint64_t max_entries_;
  uint64_t max_bytes_;
  uint64_t entries_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace holm::storage
