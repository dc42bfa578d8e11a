// What CRIU's log says went wrong, in sentences.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "checkpoint/known_causes.h"

namespace holm::checkpoint {

struct Failure {
  Error error;
  bool passes = false;  // asked again, CRIU may well do it
};
// Of a request that CRIU could not do: the first known cause in its log, with what to do about it; else its
// first error line. Names the log. `error_number`: what CRIU answered, 0 for nothing.
Failure explain_failure(const std::string& log, int error_number);

// Throws where the log has grown beyond what any container's work fills: CRIU repeats itself.
void check_log_size(const std::string& log);

// What stands for each '*' of `message` in `line`; nothing where the whole line is not of that form.
std::optional<std::vector<std::string_view>> match(std::string_view message, std::string_view line);

struct Explanation {
  const KnownCause* known;
  std::string sentence;  // safe for a terminal
};

// `line`: without time, pid and place. `operation` both: it is not known which of the two it was.
std::optional<Explanation> find_known_cause(std::string_view line, Operation operation);
bool is_harmless(std::string_view line);

}  // namespace holm::checkpoint
