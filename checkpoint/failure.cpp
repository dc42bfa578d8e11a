#include "checkpoint/failure.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "base/sys.h"
#include "base/text.h"

namespace holm::checkpoint {
namespace {

// A log of CRIU's is a few lines for each thing that a container has, and what a container has is its own
// choice: whatever it is, reading it takes little memory and ends.
constexpr size_t kMaxLine = 4096;
constexpr size_t kMaxLog = size_t{256} << 20;
constexpr size_t kMaxErrors = 1000;

struct ErrorLine {
  std::string pid;   // the container's, of the process that wrote it; empty: CRIU itself
  std::string text;  // without time, pid and place
  std::string task;  // "4711 comm: nginx", which CRIU was saving; empty: none
};

struct Log {
  std::vector<ErrorLine> errors;
  Operation operation = Operation::both;
  bool is_readable = false;
  bool is_empty = true;
};

// "(00.123456)    31: Error (criu/files.c:123): text". Nothing before the word may come from the container,
// so that a path with line ends does not easily pass for an error of CRIU's.
std::optional<ErrorLine> parse_error(std::string_view line) {
  constexpr std::string_view kWord = "Error (";
  const size_t word = line.find(kWord);
  if (word == std::string_view::npos) return std::nullopt;
  const std::string_view before = trim(line.substr(0, word));
  if (before.find_first_not_of("()0123456789. :\tpie") != std::string_view::npos) return std::nullopt;
  line.remove_prefix(word + kWord.size());
  const size_t end = line.find("): ");
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view place = line.substr(0, end);
  if (!place.contains(':') || place.find_first_of(" \t") != std::string_view::npos) return std::nullopt;

  ErrorLine error{"", std::string(line.substr(end + 3)), ""};
  if (before.ends_with(':')) {
    const std::string_view number = before.substr(0, before.size() - 1);
    const size_t begin = number.find_last_not_of("0123456789");
    error.pid = number.substr(begin == std::string_view::npos ? 0 : begin + 1);
  }
  return error;
}

// "(00.03) Dumping task (pid: 4711 comm: nginx)" -> "4711 comm: nginx".
std::optional<std::string> parse_task(std::string_view line) {
  const auto pieces = match("*umping task (pid: *)", line);
  return pieces && pieces->front().size() < 32 ? std::optional<std::string>((*pieces)[1]) : std::nullopt;
}

Operation ended_operation(std::string_view text) {
  if (text.ends_with("umping FAILED.")) return Operation::save;
  if (text == "Restoring FAILED.") return Operation::restore;
  return Operation::both;
}

Log read_log(const std::string& path) {
  Log log;
  std::ifstream in(path, std::ios::binary);
  log.is_readable = in.is_open();
  char buffer[kMaxLine];
  std::string task;
  for (size_t left = kMaxLog; left > 0 && log.errors.size() < kMaxErrors;) {
    in.getline(buffer, sizeof buffer);
    const auto got = static_cast<size_t>(in.gcount());
    if (got == 0) break;
    log.is_empty = false;
    left -= std::min(left, got);
    // A line end counts in `got` and is not in the buffer; a line that is too long has none there.
    const bool is_cut = in.fail() && !in.eof();
    const std::string_view line(buffer, in.eof() || is_cut ? got : got - 1);
    if (is_cut) {
      in.clear();
      in.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
      left -= std::min(left, static_cast<size_t>(in.gcount()));
    }
    if (auto named = parse_task(line)) task = std::move(*named);
    auto error = parse_error(line);
    if (!error || is_harmless(error->text)) continue;
    error->task = task;
    if (log.operation == Operation::both) log.operation = ended_operation(error->text);
    log.errors.push_back(std::move(*error));
  }
  return log;
}

struct Choice {
  size_t line;  // in the log's errors
  std::optional<Explanation> explanation;
};

// CRIU prints what went wrong first and then, from each caller, that this has gone wrong. So the first known
// cause counts; then the first line that is not known, as it stands before what it led to.
std::optional<Choice> choose(const Log& log) {
  std::optional<Choice> unknown, follow_up, attempt;
  for (size_t i = 0; i < log.errors.size(); ++i) {
    Choice choice{i, find_known_cause(log.errors[i].text, log.operation)};
    if (!choice.explanation) {
      if (!unknown) unknown = std::move(choice);
      continue;
    }
    switch (choice.explanation->known->role) {
      case Role::cause:
      case Role::passing:
        return choice;
      case Role::time_out:
        return attempt && attempt->line + 1 == i ? attempt : choice;
      case Role::attempt:
        attempt = choice;
        [[fallthrough]];
      case Role::follow_up:
        if (!follow_up) follow_up = std::move(choice);
    }
  }
  return unknown ? unknown : follow_up;
}

// Whom it is about. On save the line itself rarely tells: the callers name the pid afterwards ("Dump files
// (pid: 4711) failed with -1"), and the name of that process stands before.
std::string find_process(const Log& log, size_t line) {
  const ErrorLine& error = log.errors[line];
  if (!error.pid.empty()) return fmt::format("process {} of the container", shortened(error.pid));
  const size_t end = std::min(log.errors.size(), line + 6);
  for (size_t i = line; i < end; ++i) {
    const auto pieces = match("*(pid: *)*", log.errors[i].text);
    if (!pieces || !parse_unsigned((*pieces)[1])) continue;
    const std::string pid((*pieces)[1]);
    const auto task = match("* comm: *", error.task);
    if (task && task->front() == pid)
      return fmt::format("process {} on this host, {}", pid, quoted((*task)[1]));
    return fmt::format("process {} on this host", pid);
  }
  return "";
}

// Not as short as shortened() makes it: its end is the reason.
std::string quote_line(std::string_view text) {
  constexpr size_t kLongest = 400;
  return text.size() <= kLongest ? printable(text) : printable(text.substr(0, kLongest)) + "...";
}

// A request that left no error line behind.
Error explain_silence(const Log& log, const std::string& path, int error_number) {
  const std::string message = !log.is_readable ? "CRIU wrote no log"
                              : log.is_empty   ? "CRIU ended before it wrote a word"
                                               : "CRIU ended without a reason";
  Error error = error_number == 0 ? Error(message) : Error::system(error_number, message);
  error.hint("it may have been killed, for want of memory or by hand: look into the kernel's log");
  return error.hint(fmt::format("its log is '{}', and what it said elsewhere is beside it", path));
}

// Pieces come from the container's names and paths.
std::string fill_in(std::string_view sentence, const std::vector<std::string_view>& pieces) {
  std::string filled;
  for (size_t at = 0; at < sentence.size(); ++at) {
    const bool is_piece = sentence[at] == '{' && at + 2 < sentence.size();
    const auto number = is_piece ? static_cast<size_t>(sentence[at + 1] - '0') : 0;
    if (number == 0 || number > pieces.size()) {
      filled += sentence[at];
      continue;
    }
    filled += shortened(trim(pieces[number - 1]));
    at += 2;
  }
  return filled;
}

bool holds(const Only& only, const std::vector<std::string_view>& pieces) {
  return only.piece == 0 || (only.piece <= pieces.size() && pieces[only.piece - 1].contains(only.contains));
}

}  // namespace

Failure explain_failure(const std::string& log, int error_number) {
  const Log read = read_log(log);
  const auto choice = choose(read);
  if (!choice) return {explain_silence(read, log, error_number)};
  const std::string line = quote_line(read.errors[choice->line].text);
  const auto& explanation = choice->explanation;
  Error error(explanation ? explanation->sentence : fmt::format("CRIU could not do it: {}", line));
  if (const std::string process = find_process(read, choice->line); !process.empty()) error.at(process);
  if (!explanation) return {error.hint(fmt::format("its log is '{}'", log))};
  error.hint(std::string(explanation->known->hint));
  error.hint(fmt::format("CRIU says '{}'; its log is '{}'", line, log));
  return {std::move(error), explanation->known->role == Role::passing};
}

void check_log_size(const std::string& log) {
  const auto status = sys::stat_path(log);
  if (status && static_cast<size_t>(status->st_size) > kMaxLog)
    throw Error("CRIU does not come to an end")
        .hint(fmt::format("the end of its log '{}' repeats itself", log));
}

std::optional<Explanation> find_known_cause(std::string_view line, Operation operation) {
  for (const KnownCause& known : known_causes()) {
    if (known.operation != Operation::both && operation != Operation::both && known.operation != operation)
      continue;
    const auto pieces = match(known.message, line);
    if (pieces && holds(known.only, *pieces)) return Explanation{&known, fill_in(known.sentence, *pieces)};
  }
  return std::nullopt;
}

bool is_harmless(std::string_view line) {
  for (const HarmlessLine& harmless : harmless_lines()) {
    const auto pieces = match(harmless.message, line);
    if (pieces && holds(harmless.only, *pieces)) return true;
  }
  return false;
}

// Each '*' takes as little as it can and the last one the rest: linear, as the lines are not ours.
std::optional<std::vector<std::string_view>> match(std::string_view message, std::string_view line) {
  std::vector<std::string_view> pieces;
  size_t star = message.find('*');
  if (star == std::string_view::npos) return line == message ? std::optional(pieces) : std::nullopt;
  if (!line.starts_with(message.substr(0, star))) return std::nullopt;
  line.remove_prefix(star);
  for (message.remove_prefix(star + 1);; message.remove_prefix(star + 1)) {
    star = message.find('*');
    const std::string_view literal = message.substr(0, star);
    if (star == std::string_view::npos) {
      if (!line.ends_with(literal)) return std::nullopt;
      pieces.push_back(line.substr(0, line.size() - literal.size()));
      return pieces;
    }
    const size_t at = line.find(literal);
    if (at == std::string_view::npos) return std::nullopt;
    pieces.push_back(line.substr(0, at));
    line.remove_prefix(at + literal.size());
  }
}

}  // namespace holm::checkpoint
