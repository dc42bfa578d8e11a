// What one object of the probe is, and what all of them are made with: failures, data, waits, descriptors.
//
// Whatever a checkpoint must keep is an Object: something that is brought into the state of a round, and that
// must still be in it when the next round begins. Each lives in a process of its own (main.cpp), so that one
// which is lost does not take others along.
#pragma once

#include <unistd.h>

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace probe {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC

// How many times slower than usual the host may be: --patience. What is called patient() is a time that takes
// that much longer.
inline int g_patience = 1;
template <class Duration>
Duration patient(Duration usual) {
  return usual * g_patience;
}

// Whatever may wait does it no longer than this.
constexpr auto kPatience = 5s;

class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// This machine does not have what the object needs.
class Skipped : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;

  // Makes the object anew: also where an earlier one of this name has left something.
  virtual void set_up() = 0;
  // Brings it into the state of this round.
  virtual void change(int round) = 0;
  // Throws a Failure where it is no longer in the state of this round. May use it up.
  virtual void verify(int round) = 0;
  // Takes away what would outlive the process.
  virtual void tear_down() {}
  // What there is to tell of a success.
  virtual std::string note() const { return ""; }
};

struct Kind {
  const char* name;
  std::unique_ptr<Object> (*make)();
};

template <class T, auto... arguments>
std::unique_ptr<Object> make() {
  return std::make_unique<T>(arguments...);
}

// One table a file.
std::span<const Kind> process_objects();
std::span<const Kind> attribute_objects();
std::span<const Kind> credential_objects();
std::span<const Kind> thread_objects();
std::span<const Kind> register_objects();
std::span<const Kind> pipe_objects();
std::span<const Kind> unix_socket_objects();
std::span<const Kind> inet_socket_objects();
std::span<const Kind> timer_objects();
std::span<const Kind> clock_objects();
std::span<const Kind> event_objects();
std::span<const Kind> signal_objects();
std::span<const Kind> file_objects();
std::span<const Kind> deleted_file_objects();
std::span<const Kind> lock_objects();
std::span<const Kind> memory_objects();
std::span<const Kind> shared_memory_objects();
std::span<const Kind> ipc_objects();
std::span<const Kind> terminal_objects();

// --- texts

inline std::string to_text(const std::string& value) { return value; }
inline std::string to_text(const char* value) { return value; }
inline std::string to_text(char value) { return std::string(1, value); }
template <class T>
requires std::is_arithmetic_v<T> || std::is_enum_v<T> std::string to_text(T value) {
  return std::to_string(+value);
}
template <class Rep, class Period>
std::string to_text(std::chrono::duration<Rep, Period> value) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(value).count()) + " ms";
}

template <class... Parts>
std::string text(const Parts&... parts) {
  return (std::string() + ... + to_text(parts));
}

// --- failures

[[noreturn]] void fail(const std::string& what);
[[noreturn]] void fail_call(const std::string& call);  // with errno

inline void expect(bool holds, const std::string& what) {
  if (!holds) fail(what);
}

template <class Found, class Expected>
void expect_equal(const std::string& what, const Found& found, const Expected& expected) {
  if constexpr (std::is_integral_v<Found> && std::is_integral_v<Expected>) {
    if (std::cmp_equal(+found, +expected)) return;  // widened, where they are characters
  } else {
    if (found == expected) return;
  }
  fail(text(what, ": expected '", expected, "', found '", found, "'"));
}

// The result of a system call that must not fail.
template <class T>
T must(T result, const std::string& call) {
  if constexpr (std::is_pointer_v<T>) {
    if (!result || result == reinterpret_cast<T>(-1L)) fail_call(call);
  } else {
    if (result < 0) fail_call(call);
  }
  return result;
}

// The result of a pthread function, which is an error number.
void must_be_zero(int error, const std::string& call);

// --- waits

// Looks every few milliseconds; a Failure where it does not become true in time.
void await(const std::string& what, const std::function<bool()>& is_true);
void await_readable(int fd, const std::string& what);
bool is_readable(int fd);
void sleep_for(std::chrono::milliseconds time);

// --- descriptors

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { close(); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

struct Pipe {
  Fd reader, writer;
};
Pipe make_pipe(int flags = 0);

Fd open_file(const std::string& path, int flags);

// --- data

// Bytes that no other seed gives.
std::string pattern(size_t size, uint64_t seed);
void fill_pattern(void* memory, size_t size, uint64_t seed);
void expect_pattern(const std::string& what, const void* memory, size_t size, uint64_t seed);

void write_all(int fd, const std::string& data);
// The next bytes must be these.
void expect_data(int fd, const std::string& what, const std::string& expected);
void expect_nothing_more(int fd, const std::string& what);
void expect_end_of_file(int fd, const std::string& what);

// --- files

// A name in the directory where the probe works.
std::string in_directory(const std::string& name);
void set_directory(const std::string& directory);
// Names for what lives outside of directories: two probes on one machine have different ones.
std::string unique_name(const std::string& name);

std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& content);
// A field of /proc/PID/status, as "0" of "SigBlk".
std::string status_field(const std::string& process, const std::string& field);
char process_state(pid_t pid);
bool is_zombie(pid_t pid);

}  // namespace probe
