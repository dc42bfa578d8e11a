// Named steps: the places where an error says it happened, and where tests stop the program.
#pragma once

#include <string_view>
#include <utility>

#include "base/error.h"

namespace holm {

// Does what HOLM_FAULT asks for at the step `name`: "kill:NAME" ends this process with SIGKILL before the
// step, "stop:NAME" stops it with SIGSTOP, "error:NAME" throws an Error. Without HOLM_FAULT it does nothing.
// With HOLM_FAULT_TRACE=FILE every step's name is appended to FILE, one a line, so that a test can list them;
// with HOLM_FAULT_TRACE_TIMES too, each with the time of day and the process, to see where a start spends its
// time.
void fault_point(std::string_view name);

// Runs one step of a sequence; an Error that leaves it carries the step's name.
template <class Body>
decltype(auto) step(std::string_view name, Body&& body) {
  try {
    fault_point(name);
    return std::forward<Body>(body)();
  } catch (Error& error) {
    error.step(name);
    throw;
  }
}

}  // namespace holm
