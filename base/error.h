// Errors that a user can act on: what failed, on what, why, where, what to do about it.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace holm {

// Exit statuses that are not the payload's own (DESIGN: "Errors").
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitHolmFailed = 125;
inline constexpr int kExitNotExecutable = 126;
inline constexpr int kExitNotFound = 127;

// One failure. `message` is lower case, without a full stop: "mount 'proc' on '/proc': Operation not
// permitted (EPERM)".
class Error : public std::exception {
 public:
  explicit Error(std::string message);

  // "ACTION: Operation not permitted (EPERM)"; `error_number` is an errno value.
  static Error system(int error_number, std::string_view action);
  // As above with the calling thread's errno.
  static Error system(std::string_view action);

  // Puts a wider frame before the message: "cannot start container 'web'" + ": " + message.
  Error& frame(std::string_view wider);
  // Adds a place, innermost first: "web.toml:12:1", "inside the container".
  Error& at(std::string place);
  // Names the step of a sequence that failed; the innermost step wins.
  Error& step(std::string_view name);
  Error& hint(std::string text);
  // A second failure, met while the first was being undone.
  Error& also(std::string text);
  Error& exit_status(int status);

  const std::string& message() const { return message_; }
  const std::string& step() const { return step_; }
  const std::vector<std::string>& places() const { return places_; }
  const std::vector<std::string>& hints() const { return hints_; }
  const std::vector<std::string>& also() const { return also_; }
  int exit_status() const { return exit_status_; }
  // The errno value behind this error; 0 where there is none.
  int error_number() const { return error_number_; }

  const char* what() const noexcept override { return message_.c_str(); }

  // The lines as a user reads them, without the program's name: message, "  at: ...", "  hint: ...", "  also:
  // ...".
  std::string report() const;

  // Carries an error through a socket between processes of one program; decode accepts only what encode made.
  std::string encode() const;
  static Error decode(std::string_view text);

 private:
  std::string message_;
  std::string step_;
  std::vector<std::string> places_;
  std::vector<std::string> hints_;
  std::vector<std::string> also_;
  int exit_status_ = kExitFailed;
  int error_number_ = 0;
};

// An error of the user's making (bad option, bad config): exit status 2.
Error usage_error(std::string message);

// "Operation not permitted (EPERM)".
std::string describe_errno(int error_number);

// Runs `body`; an Error that leaves it gets the frame `wider` before its message.
template <class Body>
decltype(auto) with_frame(std::string_view wider, Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (Error& error) {
    error.frame(wider);
    throw;
  }
}

// Runs `body` and drops an Error that leaves it. The caller says why in a comment.
template <class Body>
void ignore_errors(Body&& body) noexcept {
  try {
    std::forward<Body>(body)();
  } catch (const std::exception&) {
  }
}

}  // namespace holm
