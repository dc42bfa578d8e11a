#include "object.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace probe {
namespace {

std::string g_directory;

uint64_t next_random(uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

uint64_t first_state(uint64_t seed) { return (seed + 1) * 0x9e3779b97f4a7c15; }

}  // namespace

// --- failures

void fail(const std::string& what) { throw Failure(what); }
void fail_call(const std::string& call) { fail(text(call, ": ", strerrorname_np(errno))); }

void must_be_zero(int error, const std::string& call) {
  if (error == 0) return;
  errno = error;
  fail_call(call);
}

// --- waits

void sleep_for(std::chrono::milliseconds time) {
  timespec left = {time.count() / 1000, (time.count() % 1000) * 1'000'000};
  while (::nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

void await(const std::string& what, const std::function<bool()>& is_true) {
  const auto deadline = Clock::now() + patient(kPatience);
  while (!is_true()) {
    if (Clock::now() > deadline) fail(text(what, ": not within ", patient(kPatience)));
    sleep_for(5ms);
  }
}

namespace {

// A restored process finds a poll(2) with a time limit interrupted (EINTR).
bool is_readable_within(int fd, std::chrono::milliseconds time) {
  const auto deadline = Clock::now() + time;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd wanted = {fd, POLLIN, 0};
    const int count = ::poll(&wanted, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) fail_call("poll");
    if (Clock::now() >= deadline) return false;
  }
}

}  // namespace

bool is_readable(int fd) { return is_readable_within(fd, 0ms); }

void await_readable(int fd, const std::string& what) {
  expect(is_readable_within(fd, patient(kPatience)),
         text(what, ": nothing to read within ", patient(kPatience)));
}

// --- descriptors

Pipe make_pipe(int flags) {
  int ends[2] = {};
  must(::pipe2(ends, flags), "pipe2");
  return {Fd(ends[0]), Fd(ends[1])};
}

Fd open_file(const std::string& path, int flags) {
  return Fd(must(::open(path.c_str(), flags, 0644), "open '" + path + "'"));
}

// --- data

void fill_pattern(void* memory, size_t size, uint64_t seed) {
  auto* bytes = static_cast<unsigned char*>(memory);
  uint64_t state = first_state(seed);
  for (size_t at = 0; at < size; at += sizeof state) {
    const uint64_t word = next_random(state);
    std::memcpy(bytes + at, &word, std::min(sizeof word, size - at));
  }
}

std::string pattern(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  fill_pattern(bytes.data(), size, seed);
  return bytes;
}

void expect_pattern(const std::string& what, const void* memory, size_t size, uint64_t seed) {
  const auto* bytes = static_cast<const unsigned char*>(memory);
  uint64_t state = first_state(seed);
  for (size_t at = 0; at < size; at += sizeof state) {
    const uint64_t word = next_random(state);
    if (std::memcmp(bytes + at, &word, std::min(sizeof word, size - at)) != 0)
      fail(text(what, ": other content from byte ", at, " of ", size, " on"));
  }
}

void write_all(int fd, const std::string& data) {
  for (size_t done = 0; done < data.size();) {
    const ssize_t count = ::write(fd, data.data() + done, data.size() - done);
    if (count < 0 && errno == EINTR) continue;
    done += static_cast<size_t>(must(count, "write"));
  }
}

void expect_data(int fd, const std::string& what, const std::string& expected) {
  std::string found(expected.size(), '\0');
  for (size_t done = 0; done < found.size();) {
    await_readable(fd, text(what, ", byte ", done, " of ", found.size()));
    const ssize_t count = must(::read(fd, found.data() + done, found.size() - done), "read " + what);
    expect(count > 0, text(what, ": ends after ", done, " of ", found.size(), " bytes"));
    done += static_cast<size_t>(count);
  }
  const auto [found_at, expected_at] = std::mismatch(found.begin(), found.end(), expected.begin());
  expect(found_at == found.end(),
         text(what, ": other content from byte ", found_at - found.begin(), " of ", found.size(), " on"));
}

void expect_nothing_more(int fd, const std::string& what) {
  expect(!is_readable(fd), what + ": there is more to read than was written");
}

void expect_end_of_file(int fd, const std::string& what) {
  await_readable(fd, what);
  char byte = 0;
  expect_equal(what + ": read at the end", must(::read(fd, &byte, 1), "read"), 0);
}

// --- files

void set_directory(const std::string& directory) { g_directory = directory; }
std::string in_directory(const std::string& name) { return g_directory + "/" + name; }

std::string unique_name(const std::string& name) {
  return text("checkpoint-probe-", std::hash<std::string>()(g_directory) % 1'000'000, "-", name);
}

std::string read_file(const std::string& path) {
  const Fd file = open_file(path, O_RDONLY | O_CLOEXEC);
  std::string content;
  char part[4096];
  while (const ssize_t count = must(::read(file.get(), part, sizeof part), "read '" + path + "'"))
    content.append(part, static_cast<size_t>(count));
  return content;
}

void write_file(const std::string& path, const std::string& content) {
  write_all(open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC).get(), content);
}

std::string status_field(const std::string& process, const std::string& field) {
  const std::string status = read_file("/proc/" + process + "/status");
  const size_t at = status.find("\n" + field + ":");
  expect(at != std::string::npos, "no '" + field + "' in /proc/" + process + "/status");
  const size_t begin = status.find_first_not_of(" \t", at + field.size() + 2);
  return status.substr(begin, status.find('\n', begin) - begin);
}

char process_state(pid_t pid) { return status_field(std::to_string(pid), "State").front(); }
bool is_zombie(pid_t pid) { return process_state(pid) == 'Z'; }

}  // namespace probe
