// Programs that build a template: they die with us, and nothing of theirs outlives them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace holm::storage {

enum class ChildNamespaces {
  ours,
  // A pid and a mount namespace of its own: when we or the program end, all that it started is killed and all
  // that it mounted is gone. Needs CAP_SYS_ADMIN.
  own_pids_and_mounts,
};

enum class ChildErrors { with_output, dropped };

struct ChildProgram {
  std::vector<std::string> command;      // the first is the program's path
  std::vector<std::string> environment;  // "NAME=value"; nothing of ours is passed on
  int input = -1;                        // becomes descriptor 0; /dev/null where there is none
  int extra = -1;                        // becomes descriptor 3
  ChildErrors errors = ChildErrors::with_output;
  ChildNamespaces namespaces = ChildNamespaces::ours;
};

// Runs the program to its end, handing on what it writes; its exit status, 128 + signal where one ended it.
// The program has no other descriptors than those named, umask 022, default signals, and is killed when the
// calling process ends.
int run_child_program(const ChildProgram& program,
                      const std::function<void(std::string_view chunk)>& on_output);

}  // namespace holm::storage
