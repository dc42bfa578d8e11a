// CRIU's error lines that Holm knows: what they mean for the owner of a container and what to do about them.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace holm::checkpoint {

enum class Operation { save, restore, both };

enum class Role {
  cause,      // the first of these in a log is why CRIU gave up
  passing,    // a cause of which the processes themselves soon make an end
  attempt,    // CRIU tries again; it was the cause where the time-out comes right after it
  time_out,   // a cause, and the end of the attempts before it
  follow_up,  // says that another line's failure has spread; taken where there is nothing better
};

// Narrows a message by one of the pieces that CRIU has filled in; they count from 1, and 0 is no bound.
struct Only {
  size_t piece = 0;
  std::string_view contains;
};

struct KnownCause {
  Operation operation;
  std::string_view message;  // CRIU's whole text after "Error (file:line): "; '*' is what it fills in
  Only only;
  // {1} is the first '*'. Pids are the host's on save, the container's on restore.
  std::string_view sentence;
  std::string_view hint;
  Role role = Role::cause;
  std::string_view version = {};  // the only CRIU that says so; empty: 4.1.1 and 4.2.1 both do
};

// Lines that CRIU prints as errors although it goes on.
struct HarmlessLine {
  std::string_view message;
  Only only;
  std::string_view why;
};

// Of two that fit one line, the earlier holds.
std::span<const KnownCause> known_causes();
std::span<const HarmlessLine> harmless_lines();

}  // namespace holm::checkpoint
