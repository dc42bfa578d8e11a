// Programs that Holm starts on the host.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace holm {

struct ProgramResult {
  int exit_status = 0;  // 128 + signal where a signal ended it
  std::string output;   // standard output, at most 4 MiB
  std::string errors;   // standard error, at most 64 KiB, the end of it
};

enum class ProgramOutput {
  capture,      // both streams are returned
  show_errors,  // standard error goes to ours, so that a person sees the progress
};

// Runs a program (found in PATH) and waits for it; standard input is /dev/null. Throws where it cannot be
// started.
ProgramResult run_program(const std::vector<std::string>& command,
                          ProgramOutput output = ProgramOutput::capture);
// As above; throws with the end of its standard error where it does not exit with 0.
std::string run_program_or_throw(const std::vector<std::string>& command,
                                 ProgramOutput output = ProgramOutput::capture);
// Kills the processes that are meant, also those that they start meanwhile, and awaits their ends.
void kill_processes(const std::function<bool(pid_t)>& is_meant);
// Waits for the end of our child behind the pidfd, and takes it away: no zombie remains.
void reap(int pidfd);
void kill_and_reap(int pidfd);
// Makes this process one of the last that the kernel kills where memory is short; nothing where it may not.
void spare_when_memory_is_short() noexcept;
// The program's path; empty where PATH has none.
std::string find_program(const std::string& name);

}  // namespace holm
