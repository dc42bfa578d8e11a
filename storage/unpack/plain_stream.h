// An archive without its compression.
#pragma once

#include <memory>

struct archive;

namespace holm::unpack {

struct CloseArchive {
  void operator()(archive* reader) const;
};
using Reader = std::unique_ptr<archive, CloseArchive>;

inline constexpr const char* kNotAnArchive = "not a tar archive (plain, gzip, bzip2, xz or zstd)";

// Throws with libarchive's reason.
[[noreturn]] void fail(archive* reader, const char* what);

// The bytes behind a descriptor, unpacked where they are packed with gzip, bzip2, xz or zstd. Kept apart from
// the tar reader, because that one stops at the archive's end and so would not notice that the packed stream
// is cut off there.
class PlainStream {
 public:
  explicit PlainStream(int fd);

  // The next bytes, at least one; none at the end. Throws where the stream is damaged or cut off.
  struct Block {
    const void* data = nullptr;
    size_t size = 0;
  };
  Block next();

  // Reads what follows the archive's end, which is padding; throws where that is more than any writer puts
  // there.
  void drain();

 private:
  Reader reader_;
};

}  // namespace holm::unpack
