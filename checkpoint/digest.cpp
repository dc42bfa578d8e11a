#include "checkpoint/digest.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <nettle/sha2.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/text.h"
#include "checkpoint/store.h"
#include "runtime/suspended.h"

namespace holm::checkpoint {
namespace {

constexpr size_t kBlock = 1 << 20;
constexpr uint64_t kPiece = 32 << 20;

std::string hexadecimal(std::span<const uint8_t> bytes) {
  std::string text;
  for (const uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

class Sha256 {
 public:
  Sha256() { ::nettle_sha256_init(&context_); }
  void add(std::span<const uint8_t> data) { ::nettle_sha256_update(&context_, data.size(), data.data()); }
  std::string text() {
    std::array<uint8_t, SHA256_DIGEST_SIZE> digest{};
    ::nettle_sha256_digest(&context_, digest.size(), digest.data());
    return hexadecimal(digest);
  }

 private:
  sha256_ctx context_;
};

class Xxh128 {
 public:
  Xxh128() { ::XXH3_128bits_reset(state_.get()); }
  void add(std::span<const uint8_t> data) { ::XXH3_128bits_update(state_.get(), data.data(), data.size()); }
  std::string text() {
    XXH128_canonical_t digest;
    ::XXH128_canonicalFromHash(&digest, ::XXH3_128bits_digest(state_.get()));
    return hexadecimal(digest.digest);
  }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_{::XXH3_createState(),
                                                                         ::XXH3_freeState};
};

// What one CPU reads at once: a whole file, or a piece of one.
struct Piece {
  size_t part = 0;
  uint64_t begin = 0;
  uint64_t size = UINT64_MAX;  // to the end where the file is smaller
  std::string digest;
};

template <class Digest>
std::string digest_with(int fd, const Piece& piece, std::string_view name) {
  Digest digest;
  std::vector<uint8_t> block(kBlock);
  for (uint64_t done = 0; done < piece.size;) {
    const size_t wanted = std::min<uint64_t>(block.size(), piece.size - done);
    const ssize_t size = ::pread(fd, block.data(), wanted, static_cast<off_t>(piece.begin + done));
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) throw Error::system(fmt::format("read '{}'", name));
    if (size == 0) break;
    digest.add({block.data(), static_cast<size_t>(size)});
    done += static_cast<uint64_t>(size);
  }
  return digest.text();
}

// The files in a checkpoint's directory, by path below it, without digests. Anything else in it is an Error.
std::vector<Part> list_parts(const std::string& directory) {
  std::vector<Part> parts;
  const UniqueFd base = sys::open(directory, O_RDONLY | O_DIRECTORY);
  const auto add = [&](const std::string& path) {
    const UniqueFd fd =
        sys::open_confined(base.get(), path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, sys::Confine::beneath);
    const struct stat status = sys::stat_fd(fd.get(), path);
    if (!S_ISREG(status.st_mode)) throw Error(fmt::format("'{}' of the checkpoint is no regular file", path));
    parts.push_back({path, static_cast<uint64_t>(status.st_size), ""});
  };
  for (const std::string& name : list_directory(directory)) {
    if (name == "manifest.json" || name == runtime::kUntrueMark || name == "images") continue;
    add(name);
  }
  for (const std::string& level : image_levels(directory + "/images"))
    for (const std::string& name : list_images(level)) add(level.substr(directory.size() + 1) + "/" + name);
  return parts;
}

// Calls `work` for each index, on all CPUs; the first exception is thrown when all have ended.
void in_parallel(size_t count, const std::function<void(size_t)>& work) {
  const size_t workers = std::min<size_t>(count, std::max(1U, std::thread::hardware_concurrency()));
  std::atomic<size_t> next = 0;
  std::vector<std::exception_ptr> failures(workers);
  const auto run = [&](size_t worker) {
    try {
      for (size_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      failures[worker] = std::current_exception();
      next = count;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (size_t worker = 1; worker < workers; ++worker) threads.emplace_back(run, worker);
    run(0);
  }
  for (const auto& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

std::vector<Piece> cut(const std::vector<Part>& parts, DigestKind kind) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool is_cut = kind == DigestKind::xxh128 && parts[i].size > kPiece;
    if (!is_cut) pieces.push_back({i, 0, UINT64_MAX, ""});
    for (uint64_t begin = 0; is_cut && begin < parts[i].size; begin += kPiece)
      pieces.push_back({i, begin, kPiece, ""});
  }
  return pieces;
}

// A file that was cut has the digest of its pieces' digests.
void fill_digests(const std::string& directory, std::vector<Part>& parts, DigestKind kind) {
  std::vector<Piece> pieces = cut(parts, kind);
  const UniqueFd base = sys::open(directory, O_RDONLY | O_DIRECTORY);
  in_parallel(pieces.size(), [&](size_t i) {
    const std::string& path = parts[pieces[i].part].path;
    const UniqueFd fd = sys::open_confined(base.get(), path, O_RDONLY, sys::Confine::beneath);
    pieces[i].digest = kind == DigestKind::sha256 ? digest_with<Sha256>(fd.get(), pieces[i], path)
                                                  : digest_with<Xxh128>(fd.get(), pieces[i], path);
  });
  std::vector<std::vector<std::string>> of_part(parts.size());
  for (Piece& piece : pieces) of_part[piece.part].push_back(std::move(piece.digest));
  for (size_t i = 0; i < parts.size(); ++i) {
    Xxh128 all;
    for (const std::string& digest : of_part[i])
      all.add({reinterpret_cast<const uint8_t*>(digest.data()), digest.size()});
    parts[i].digest = of_part[i].size() == 1 ? of_part[i].front() : all.text();
  }
}

}  // namespace

std::vector<Part> digest_parts(const std::string& directory, DigestKind kind) {
  std::vector<Part> parts = list_parts(directory);
  fill_digests(directory, parts, kind);
  return parts;
}

void verify_parts(const std::string& directory, const Manifest& manifest) {
  std::vector<Part> found = list_parts(directory);
  const auto by_path = [](const Part& a, const Part& b) { return a.path < b.path; };
  std::vector<Part> wanted = manifest.parts;
  std::ranges::sort(found, by_path);
  std::ranges::sort(wanted, by_path);
  const auto damaged = [](const std::string& what) { return Error("the checkpoint is damaged: " + what); };
  for (const Part& part : wanted) {
    const auto [first, last] = std::ranges::equal_range(found, part, by_path);
    if (first == last) throw damaged(fmt::format("its part '{}' is missing", part.path));
    if (first->size != part.size)
      throw damaged(
          fmt::format("its part '{}' has {} bytes, and should have {}", part.path, first->size, part.size));
  }
  for (const Part& part : found)
    if (!std::ranges::binary_search(wanted, part, by_path))
      throw damaged(fmt::format("'{}' in it is none of its parts", printable(part.path)));
  fill_digests(directory, found, manifest.digest_kind);
  for (size_t i = 0; i < found.size(); ++i)  // of the same paths, in the same order
    if (found[i].digest != wanted[i].digest)
      throw damaged(fmt::format("its part '{}' is not what was saved", wanted[i].path));
}

}  // namespace holm::checkpoint
