#include "checkpoint/digest.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "tests/support/temporary_directory.h"

using namespace holm;
using namespace holm::checkpoint;
using namespace holm::test;

namespace {

constexpr uint64_t kPiece = 32 << 20;  // as in manifest.h

// A checkpoint's directory with a small file and one of almost three pieces, most of it a hole.
class Parts {
 public:
  Parts() {
    sys::make_directory(directory_.path() + "/images", 0700);
    replace_file(directory_.path() + "/images/small.img", "abc");
    const UniqueFd large = sys::open(large_path(), O_RDWR | O_CREAT, 0600);
    REQUIRE(::ftruncate(large.get(), static_cast<off_t>(3 * kPiece - 1)) == 0);
    for (uint64_t piece = 0; piece < 3; ++piece) write(piece * kPiece + 7, std::to_string(piece));
  }
  void write(uint64_t at, const std::string& text) const {
    const UniqueFd file = sys::open(large_path(), O_WRONLY);
    REQUIRE(::pwrite(file.get(), text.data(), text.size(), static_cast<off_t>(at)) ==
            static_cast<ssize_t>(text.size()));
  }
  Manifest manifest(DigestKind kind) const {
    Manifest manifest;
    manifest.digest_kind = kind;
    manifest.parts = digest_parts(directory_.path(), kind);
    return manifest;
  }
  bool are_those_of(const Manifest& manifest) const {
    try {
      verify_parts(directory_.path(), manifest);
      return true;
    } catch (const Error& error) {
      CHECK_MESSAGE(error.message().contains("'images/large.img' is not what was saved"), error.message());
      return false;
    }
  }

 private:
  std::string large_path() const { return directory_.path() + "/images/large.img"; }
  TemporaryDirectory directory_;
};

}  // namespace

TEST_CASE("digests are those that other programs compute") {
  const Parts parts;
  const auto digest = [&](DigestKind kind) {
    for (const Part& part : parts.manifest(kind).parts)
      if (part.path == "images/small.img") return part.digest;
    return std::string();
  };
  CHECK(digest(DigestKind::sha256) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(digest(DigestKind::xxh128) == "06b05ab6733a618578af5f94892f3950");
}

TEST_CASE("each byte of each piece counts, and the pieces' order") {
  const Parts parts;
  for (const DigestKind kind : {DigestKind::sha256, DigestKind::xxh128}) {
    const Manifest manifest = parts.manifest(kind);
    CHECK(parts.are_those_of(manifest));
    for (const uint64_t at : {uint64_t{0}, kPiece - 1, kPiece, 2 * kPiece, 3 * kPiece - 2}) {
      CAPTURE(at);
      parts.write(at, "x");
      CHECK_FALSE(parts.are_those_of(manifest));
      parts.write(at, std::string(1, '\0'));
    }
    parts.write(7, "1");
    parts.write(kPiece + 7, "0");
    CHECK_FALSE(parts.are_those_of(manifest));
    parts.write(7, "0");
    parts.write(kPiece + 7, "1");
    CHECK(parts.are_those_of(manifest));
  }
}
