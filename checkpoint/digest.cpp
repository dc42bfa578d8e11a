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
#include <exception>
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

template <class Digest>
std::string digest_with(int fd, std::string_view name) {
  Digest digest;
  std::vector<uint8_t> block(kBlock);
  for (off_t offset = 0;;) {
    const ssize_t size = ::pread(fd, block.data(), block.size(), offset);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) throw Error::system(fmt::format("read '{}'", name));
    if (size == 0) return digest.text();
    digest.add({block.data(), static_cast<size_t>(size)});
    offset += size;
  }
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

}  // namespace

std::string digest_of(int fd, std::string_view name, DigestKind kind) {
  return kind == DigestKind::sha256 ? digest_with<Sha256>(fd, name) : digest_with<Xxh128>(fd, name);
}

std::vector<Part> digest_parts(const std::string& directory, DigestKind kind) {
  std::vector<Part> parts = list_parts(directory);
  const UniqueFd base = sys::open(directory, O_RDONLY | O_DIRECTORY);
  in_parallel(parts.size(), [&](size_t i) {
    const UniqueFd fd = sys::open_confined(base.get(), parts[i].path, O_RDONLY, sys::Confine::beneath);
    parts[i].digest = digest_of(fd.get(), parts[i].path, kind);
  });
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
  const UniqueFd base = sys::open(directory, O_RDONLY | O_DIRECTORY);
  in_parallel(wanted.size(), [&](size_t i) {
    const UniqueFd fd = sys::open_confined(base.get(), wanted[i].path, O_RDONLY, sys::Confine::beneath);
    if (digest_of(fd.get(), wanted[i].path, manifest.digest_kind) != wanted[i].digest)
      throw damaged(fmt::format("its part '{}' is not what was saved", wanted[i].path));
  });
}

}  // namespace holm::checkpoint
