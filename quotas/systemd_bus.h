// What Holm asks of systemd, over D-Bus.
#pragma once

#include <sys/types.h>

#include <string>

namespace holm::quotas {

inline constexpr const char* kScopeSlice = "machine.slice";

enum class ScopeStart {
  done,
  unit_exists,  // one of that name runs, or has ended and is not gone yet
};

// Asks systemd for the delegated scope `unit` in that slice with the process in it and waits until the unit
// has started. An error says what systemd answered.
ScopeStart start_scope_by_bus(const std::string& unit, pid_t process);

// Throws where systemd cannot be asked.
void check_systemd();

}  // namespace holm::quotas
