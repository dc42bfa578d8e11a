// Whole trees of groups: a container's root may have nested groups in what was delegated to it, as deep and
// as many as it likes. These functions therefore hold one descriptor at a time, use no recursion, and follow
// no link. Not for other folders.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace holm::quotas {

// The processes of the group at `directory` and of all nested ones, sorted; none where it does not exist.
std::vector<pid_t> tree_processes(const std::string& directory);
// Calls `visit` with a descriptor of the group and then of each nested one, outer ones first.
void visit_tree(const std::string& directory, const std::function<void(int)>& visit);
// The texts of `file` in the group and all nested ones that have it.
std::vector<std::string> read_tree(const std::string& directory, const std::string& file);
// Writes `value` to `file` in every nested group that has it, deepest last; a group that vanishes is passed
// over.
void write_to_tree(const std::string& directory, const std::string& file, const std::string& value);
// Removes the group and all nested ones; nothing to do where it does not exist. Tries again for `patience`
// where one is busy, then throws.
void remove_tree_of_groups(const std::string& directory, std::chrono::milliseconds patience);

}  // namespace holm::quotas
