#include "storage/unpack/read_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <new>

#include "base/error.h"
#include "base/step.h"
#include "base/text.h"
#include "storage/unpack/plain_stream.h"

namespace holm::unpack {
namespace {

using storage::EntryDecision;
using storage::EntryKind;

constexpr int64_t kTarBlock = 512;

// What the tar reader asks for when it wants more. An exception must not cross libarchive: it is kept until
// we are back.
struct Source {
  PlainStream stream;
  std::exception_ptr failure;
};

la_ssize_t read_more(archive* reader, void* client, const void** data) {
  auto* source = static_cast<Source*>(client);
  try {
    const PlainStream::Block block = source->stream.next();
    *data = block.data;
    return static_cast<la_ssize_t>(block.size);
  } catch (...) {
    source->failure = std::current_exception();
    ::archive_set_error(reader, EIO, "cannot read");
    return ARCHIVE_FATAL;
  }
}

Reader open_tar(Source& source) {
  Reader reader(::archive_read_new());
  if (!reader) throw std::bad_alloc();
  if (::archive_read_support_format_tar(reader.get()) != ARCHIVE_OK) fail(reader.get(), "prepare to read");
  const int result = ::archive_read_open(reader.get(), &source, nullptr, read_more, nullptr);
  if (source.failure) std::rethrow_exception(source.failure);
  if (result != ARCHIVE_OK) fail(reader.get(), kNotAnArchive);
  return reader;
}

EntryKind kind_of(archive_entry* entry) {
  if (::archive_entry_hardlink(entry)) return EntryKind::hard_link;
  switch (::archive_entry_filetype(entry)) {
    case AE_IFDIR:
      return EntryKind::directory;
    case AE_IFREG:
      return EntryKind::regular;
    case AE_IFLNK:
      return EntryKind::symbolic_link;
    case AE_IFCHR:
      return EntryKind::character_device;
    case AE_IFBLK:
      return EntryKind::block_device;
    case AE_IFIFO:
      return EntryKind::fifo;
    case AE_IFSOCK:
      return EntryKind::socket;
    default:
      return EntryKind::unknown;
  }
}

Metadata metadata_of(archive_entry* entry, const std::string& path, const storage::ReadRules& rules,
                     Notes& notes) {
  Metadata metadata;
  const int64_t uid = ::archive_entry_uid(entry) - rules.from_first;
  const int64_t gid = ::archive_entry_gid(entry) - rules.from_first;
  storage::check_owner(uid, gid, path);
  metadata.uid = rules.to_first + static_cast<uid_t>(uid);
  metadata.gid = rules.to_first + static_cast<gid_t>(gid);
  metadata.mode = ::archive_entry_perm(entry) & 07777;
  metadata.modified.tv_sec = ::archive_entry_mtime(entry);
  metadata.modified.tv_nsec = ::archive_entry_mtime_nsec(entry);
  if (metadata.modified.tv_nsec < 0 || metadata.modified.tv_nsec > 999'999'999) metadata.modified.tv_nsec = 0;
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  ::archive_entry_xattr_reset(entry);
  while (::archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    std::string content(static_cast<const char*>(value), size);
    const bool is_taken = name && (rules.is_changes ? storage::take_change_attribute(rules, name, content)
                                                    : storage::is_taken_attribute(name, size));
    if (is_taken)
      metadata.attributes.emplace_back(name, std::move(content));
    else if (!rules.is_changes || !name ||
             !std::string_view(name).starts_with("trusted.overlay."))  // made anew by overlayfs
      notes.add("extended attributes that are not taken from archives", path);
  }
  if (::archive_entry_acl_types(entry) != 0) notes.add("access control lists", path);
  return metadata;
}

void write_block(int fd, const char* data, size_t size, off_t offset, const std::string& path) {
  while (size > 0) {
    const ssize_t written = ::pwrite(fd, data, size, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw Error::system(fmt::format("write '{}'", printable(path)));
    data += written;
    size -= static_cast<size_t>(written);
    offset += written;
  }
}

// The blocks of one entry, holes left out.
void write_content(archive* reader, int fd, int64_t size, const std::string& path) {
  for (;;) {
    const void* data = nullptr;
    size_t length = 0;
    la_int64_t offset = 0;
    const int result = ::archive_read_data_block(reader, &data, &length, &offset);
    if (result == ARCHIVE_EOF) break;
    if (result != ARCHIVE_OK)
      fail(reader, fmt::format("cut off or damaged in entry '{}'", printable(path)).c_str());
    if (offset < 0 || offset > size || length > static_cast<uint64_t>(size - offset))
      throw Error(fmt::format("damaged: entry '{}' holds more than its size", printable(path)));
    write_block(fd, static_cast<const char*>(data), length, offset, path);
  }
  if (::ftruncate(fd, size) != 0) throw Error::system(fmt::format("set size of '{}'", printable(path)));
}

void put_regular(archive* reader, archive_entry* entry, const std::string& path, RootWriter& writer,
                 const storage::ReadRules& rules, storage::ImportBudget& budget, Notes& notes) {
  const int64_t size = ::archive_entry_size(entry);
  budget.check_bytes(size, path);
  budget.add_bytes(static_cast<uint64_t>(size), path);
  const Metadata metadata = metadata_of(entry, path, rules, notes);
  const UniqueFd fd = writer.make_file(path);
  write_content(reader, fd.get(), size, path);
  writer.finish_file(fd.get(), path, metadata);
}

// What only a layer of an overlay has; false for anything else.
bool put_change(archive_entry* entry, EntryKind kind, const std::string& path, RootWriter& writer,
                const storage::ReadRules& rules, Notes& notes) {
  if (kind == EntryKind::character_device && ::archive_entry_rdev(entry) == 0) {
    writer.put_whiteout(path);
    return true;
  }
  if (kind != EntryKind::fifo) return false;
  writer.put_fifo(path, metadata_of(entry, path, rules, notes));
  return true;
}

void put_entry(archive* reader, archive_entry* entry, RootWriter& writer, const storage::ReadRules& rules,
               storage::ImportBudget& budget, Notes& notes) {
  const char* name = ::archive_entry_pathname(entry);
  if (!name || !*name) throw Error("an entry has no name that can be read");
  const std::string path = storage::entry_path(name);
  const EntryKind kind = kind_of(entry);
  if (rules.is_changes && put_change(entry, kind, path, writer, rules, notes)) return;
  if (storage::decide_entry(kind, path) == EntryDecision::leave_out) {
    notes.add("FIFOs or sockets", path);
    return;
  }
  const auto link = [&](const char* text) { return std::string(text ? text : ""); };
  switch (kind) {
    case EntryKind::directory:
      writer.put_directory(path, metadata_of(entry, path, rules, notes));
      return;
    case EntryKind::symbolic_link:
      writer.put_symbolic_link(path, link(::archive_entry_symlink(entry)),
                               metadata_of(entry, path, rules, notes));
      return;
    case EntryKind::hard_link:
      writer.put_hard_link(path, storage::entry_path(link(::archive_entry_hardlink(entry))));
      return;
    default:
      put_regular(reader, entry, path, writer, rules, budget, notes);
      return;
  }
}

// Where the last entry ends in the unpacked stream.
int64_t skip_rest_of_entry(archive* reader) {
  const int result = ::archive_read_data_skip(reader);
  if (result != ARCHIVE_OK && result != ARCHIVE_EOF) fail(reader, "cut off or damaged");
  return ::archive_filter_bytes(reader, 0);
}

// The next entry; nothing at the end of the archive.
archive_entry* next_entry(archive* reader, bool is_first) {
  archive_entry* entry = nullptr;
  const int result = ::archive_read_next_header(reader, &entry);
  if (result == ARCHIVE_EOF) return nullptr;
  // A warning is about a name in another character set: it is taken as it is.
  if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
    fail(reader, is_first ? kNotAnArchive : "cut off or damaged");
  return entry;
}

void read_entries(archive* reader, RootWriter& writer, const storage::ReadRules& rules,
                  storage::ImportBudget& budget, Notes& notes) {
  int64_t end_of_last = 0;
  while (archive_entry* entry = next_entry(reader, budget.entries() == 0)) {
    budget.add_entry();
    put_entry(reader, entry, writer, rules, budget, notes);
    end_of_last = skip_rest_of_entry(reader);
    fault_point("unpack entry");
  }
  if (budget.entries() == 0) throw Error("the archive is empty");
  // libarchive takes the end of the stream for the end of the archive; a whole one ends with a block of
  // zeros.
  if (::archive_filter_bytes(reader, 0) - end_of_last < kTarBlock)
    throw Error("cut off: the end of the archive is missing");
}

}  // namespace

void read_archive(int fd, RootWriter& writer, const storage::ReadRules& rules, storage::ImportBudget& budget,
                  Notes& notes) {
  Source source{PlainStream(fd), nullptr};
  const Reader reader = open_tar(source);
  try {
    read_entries(reader.get(), writer, rules, budget, notes);
  } catch (const Error& error) {
    // The stream's own reason is the better one.
    if (source.failure) std::rethrow_exception(source.failure);
    throw;
  }
  source.stream.drain();
}

}  // namespace holm::unpack
