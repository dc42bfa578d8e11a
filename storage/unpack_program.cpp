#include "storage/unpack_program.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>

#include "base/sys.h"
#include "base/text.h"
#include "storage/child_program.h"

namespace holm::storage {
namespace {

constexpr const char* kProgramName = "holm-unpack";
constexpr size_t kMaxOutcome = 64 << 10;

std::string own_directory() {
  const std::string self = sys::read_link("/proc/self/exe");
  return self.substr(0, self.rfind('/'));
}

const char* kind_name(ImportSource kind) {
  switch (kind) {
    case ImportSource::archive:
      return "archive";
    case ImportSource::directory:
      return "directory";
    case ImportSource::changes:
      return "changes";
  }
  return "?";
}

std::string describe_signal(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name ? fmt::format("SIG{}", name) : std::to_string(signal);
}

}  // namespace

std::string find_unpack_program() {
  std::vector<std::string> candidates;
  if (const char* directory = std::getenv("HOLM_LIBEXEC_DIR"); directory && *directory) {
    candidates.push_back(fmt::format("{}/{}", directory, kProgramName));
  } else {
    candidates.push_back(fmt::format("{}/{}", own_directory(), kProgramName));
    candidates.push_back(fmt::format("{}/../libexec/holm/{}", own_directory(), kProgramName));
  }
  for (const std::string& candidate : candidates) {
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  throw Error(
      fmt::format("cannot find the program '{}': looked for {}", kProgramName, join(candidates, ", ")))
      .hint("install Holm completely, or set HOLM_LIBEXEC_DIR to the directory that has it");
}

UnpackReport run_unpack_program(ImportSource kind, int source, int target, uint64_t max_bytes,
                                uint64_t max_entries, const ReadRules& rules) {
  ChildProgram program;
  program.command = {find_unpack_program(), kind_name(kind), std::to_string(max_bytes),
                     std::to_string(max_entries)};
  if (kind == ImportSource::changes)
    program.command.insert(program.command.end(),
                           {std::to_string(rules.from_first), std::to_string(rules.to_first)});
  for (const char* variable : {"HOLM_FAULT", "HOLM_FAULT_TRACE"}) {
    if (const char* value = std::getenv(variable))
      program.environment.push_back(fmt::format("{}={}", variable, value));
  }
  program.input = source;
  program.extra = target;
  program.errors = ChildErrors::dropped;
  std::string outcome;
  const int status = run_child_program(program, [&](std::string_view chunk) {
    outcome += chunk.substr(0, kMaxOutcome - std::min(kMaxOutcome, outcome.size()));
  });
  return decode_outcome(outcome, status);
}

std::string encode_report(const UnpackReport& report) {
  std::string text = fmt::format("done {} {}\n", report.entries, report.bytes);
  for (const std::string& note : report.notes) text += printable(note) + "\n";
  return text;
}

std::string encode_failure(const Error& error) { return "error" + error.encode(); }

UnpackReport decode_outcome(std::string_view text, int exit_status) {
  if (exit_status > 128)
    throw Error(fmt::format("{} was ended by {}", kProgramName, describe_signal(exit_status - 128)));
  if (text.starts_with("error")) {
    const Error said = Error::decode(text.substr(5));
    Error error(printable(said.message()));
    if (!said.step().empty()) error.step(printable(said.step()));
    for (const std::string& hint : said.hints()) error.hint(printable(hint));
    throw error;
  }
  const auto lines = split(text, '\n');
  const auto words = lines.empty() ? std::vector<std::string>() : split_words(lines[0]);
  const auto entries = words.size() == 3 ? parse_unsigned(words[1]) : std::nullopt;
  const auto bytes = words.size() == 3 ? parse_unsigned(words[2]) : std::nullopt;
  if (exit_status != 0 || !entries || !bytes || words[0] != "done")
    throw Error(fmt::format("{} ended with status {} and without a result", kProgramName, exit_status))
        .hint(exit_status == 127
                  ? "a library that it needs is not installed: 'ldd' on that program tells which"
                  : "called by hand, the program says more");
  UnpackReport report{*entries, *bytes, {}};
  for (size_t i = 1; i < lines.size(); ++i) {
    if (!lines[i].empty()) report.notes.push_back(printable(lines[i]));
  }
  return report;
}

}  // namespace holm::storage
