#include "storage/unpack/plain_stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/core.h>

#include <cerrno>
#include <new>

#include "base/error.h"
#include "base/text.h"

namespace holm::unpack {
namespace {

constexpr size_t kReadBlock = 128 << 10;
constexpr size_t kMaxPadding = 64 << 20;  // tar pads to its record size: 10 KiB, seldom some MiB

}  // namespace

void CloseArchive::operator()(archive* reader) const { ::archive_read_free(reader); }

void fail(archive* reader, const char* what) {
  if (::archive_errno(reader) == ENOMEM) throw std::bad_alloc();
  const char* reason = ::archive_error_string(reader);
  throw Error(fmt::format("{}: {}", what, reason ? printable(reason) : "no reason given"));
}

PlainStream::PlainStream(int fd) : reader_(::archive_read_new()) {
  if (!reader_) throw std::bad_alloc();
  // Only what is linked in: for other methods libarchive would run programs.
  for (const auto support : {::archive_read_support_filter_gzip, ::archive_read_support_filter_bzip2,
                             ::archive_read_support_filter_xz, ::archive_read_support_filter_zstd}) {
    if (support(reader_.get()) == ARCHIVE_FATAL) fail(reader_.get(), "prepare to read");
  }
  if (::archive_read_support_format_raw(reader_.get()) != ARCHIVE_OK) fail(reader_.get(), "prepare to read");
  archive_entry* entry = nullptr;
  if (::archive_read_open_fd(reader_.get(), fd, kReadBlock) != ARCHIVE_OK ||
      ::archive_read_next_header(reader_.get(), &entry) != ARCHIVE_OK)
    fail(reader_.get(), kNotAnArchive);
}

PlainStream::Block PlainStream::next() {
  for (;;) {
    Block block;
    la_int64_t offset = 0;
    const int result = ::archive_read_data_block(reader_.get(), &block.data, &block.size, &offset);
    if (result == ARCHIVE_EOF) return {};
    if (result != ARCHIVE_OK) fail(reader_.get(), "cut off or damaged");
    if (block.size > 0) return block;
  }
}

void PlainStream::drain() {
  size_t padding = 0;
  for (Block block = next(); block.size > 0; block = next()) {
    padding += block.size;
    if (padding > kMaxPadding) throw Error("damaged: there is more after the end of the archive");
  }
}

}  // namespace holm::unpack
