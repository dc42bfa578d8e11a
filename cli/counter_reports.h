// Reads counters for the verbs that show them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cli/command.h"
#include "runtime/counters.h"

namespace holm::cli {

struct CounterReports {
  std::vector<runtime::CounterReport> reports;
  std::map<std::string, runtime::Condition> conditions;  // of all that were looked at
  int status = 0;  // the exit status of the first container that could not be read
};

// Those of `names`. The ledger learns what was read; warnings are printed, and errors where a container
// cannot be read or, if so wished, does not run.
enum class IfStopped { skip, error };
CounterReports read_reports(const Program& program, const runtime::Installation& installation,
                            const runtime::CounterReader& reader, const std::vector<std::string>& names,
                            IfStopped if_stopped);

}  // namespace holm::cli
