#include "base/error.h"

#include <fmt/core.h>

#include <cerrno>
#include <charconv>
#include <cstring>

namespace holm {
namespace {

constexpr char kFieldEnd = '\x1e';

void put_field(std::string& out, char tag, std::string_view value) {
  out += tag;
  out += value;
  out += kFieldEnd;
}

int to_int(std::string_view text) {
  int value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

std::string describe_errno(int error_number) {
  const char* name = strerrorname_np(error_number);
  const char* description = strerrordesc_np(error_number);
  return fmt::format("{} ({})", description ? description : "unknown error",
                     name ? name : std::to_string(error_number));
}

Error::Error(std::string message) : message_(std::move(message)) {}

Error Error::system(int error_number, std::string_view action) {
  Error error(fmt::format("{}: {}", action, describe_errno(error_number)));
  error.error_number_ = error_number;
  return error;
}

Error Error::system(std::string_view action) { return system(errno, action); }

Error& Error::frame(std::string_view wider) {
  message_ = fmt::format("{}: {}", wider, message_);
  return *this;
}

Error& Error::at(std::string place) {
  places_.push_back(std::move(place));
  return *this;
}

Error& Error::step(std::string_view name) {
  if (step_.empty()) step_ = name;
  return *this;
}

Error& Error::hint(std::string text) {
  hints_.push_back(std::move(text));
  return *this;
}

Error& Error::also(std::string text) {
  also_.push_back(std::move(text));
  return *this;
}

Error& Error::exit_status(int status) {
  exit_status_ = status;
  return *this;
}

std::string Error::report() const {
  std::string out = message_;
  std::string where;
  for (const std::string& place : places_) where += (where.empty() ? "" : ", ") + place;
  if (!step_.empty()) where += fmt::format("{}step '{}'", where.empty() ? "" : ", ", step_);
  if (!where.empty()) out += "\n  at:   " + where;
  for (const std::string& hint : hints_) out += "\n  hint: " + hint;
  for (const std::string& also : also_) out += "\n  also: " + also;
  return out;
}

std::string Error::encode() const {
  std::string out;
  put_field(out, 'm', message_);
  put_field(out, 's', step_);
  for (const std::string& place : places_) put_field(out, 'p', place);
  for (const std::string& hint : hints_) put_field(out, 'h', hint);
  for (const std::string& also : also_) put_field(out, 'a', also);
  put_field(out, 'x', std::to_string(exit_status_));
  put_field(out, 'e', std::to_string(error_number_));
  return out;
}

Error Error::decode(std::string_view text) {
  Error error("");
  while (!text.empty()) {
    const char tag = text.front();
    const size_t end = text.find(kFieldEnd);
    const std::string_view value = text.substr(1, end == std::string_view::npos ? end : end - 1);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    switch (tag) {
      case 'm':
        error.message_ = value;
        break;
      case 's':
        error.step_ = value;
        break;
      case 'p':
        error.places_.emplace_back(value);
        break;
      case 'h':
        error.hints_.emplace_back(value);
        break;
      case 'a':
        error.also_.emplace_back(value);
        break;
      case 'x':
        error.exit_status_ = to_int(value);
        break;
      case 'e':
        error.error_number_ = to_int(value);
        break;
      default:
        break;
    }
  }
  return error;
}

Error usage_error(std::string message) {
  Error error(std::move(message));
  error.exit_status(kExitUsage);
  return error;
}

}  // namespace holm
