#include "cli/progress_line.h"

#include <fmt/core.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/unit.h"

namespace holm::cli {
namespace {

constexpr std::chrono::milliseconds kPause(200);

}  // namespace

ProgressLine::ProgressLine(const Globals& globals)
    : json_(globals.json), terminal_(::isatty(STDERR_FILENO) != 0) {}

void ProgressLine::show(const checkpoint::ProgressReport& report) {
  if (!json_ && !terminal_) return;
  const std::lock_guard guard(mutex_);
  const auto now = Clock::now();
  if (report.phase != phase_) {
    phase_ = report.phase;
    begin_ = last_ = now;
  }
  if (now - last_ < kPause) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  const double rate = static_cast<double>(report.done) / seconds;  // bytes a second
  const bool is_known = report.total > report.done && rate > 0;
  const auto left =
      is_known ? static_cast<int64_t>(static_cast<double>(report.total - report.done) / rate) : -1;
  if (json_) {
    nlohmann::json line = {{"event", "progress"},
                           {"phase", report.phase},
                           {"bytes", report.done},
                           {"bytes_per_second", static_cast<uint64_t>(rate)}};
    if (report.total > 0) line["total_bytes"] = report.total;
    if (left >= 0) line["seconds_left"] = left;
    fmt::print(stderr, "{}\n", line.dump());
    return;
  }
  std::string text = fmt::format("{} {}", report.phase, format_bytes(Bytes{report.done}));
  if (report.total > 0) text += fmt::format(" of {}", format_bytes(Bytes{report.total}));
  text += fmt::format(", {}/s", format_bytes(Bytes{static_cast<uint64_t>(rate)}));
  if (left >= 0) text += fmt::format(", {} left", format_duration(std::chrono::seconds(left)));
  fmt::print(stderr, "\r{}\033[K", text);
  is_shown_ = true;
}

void ProgressLine::end() {
  const std::lock_guard guard(mutex_);
  if (is_shown_) fmt::print(stderr, "\r\033[K");
  is_shown_ = false;
}

}  // namespace holm::cli
