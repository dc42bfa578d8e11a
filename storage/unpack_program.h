// holm-unpack: the separate, confined program that reads imported archives and directories.
//
//   fd 0  the archive or the source directory      fd 1  the outcome, in this file's format
//   fd 3  the empty target directory               arguments: archive|directory MAX_BYTES MAX_ENTRIES
//                                                 or: changes MAX_BYTES MAX_ENTRIES FROM_FIRST_ID TO_FIRST_ID
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "storage/entry_rules.h"

namespace holm::storage {

enum class ImportSource { archive, directory, changes };

struct UnpackReport {
  uint64_t entries = 0;
  uint64_t bytes = 0;
  std::vector<std::string> notes;  // what was left out, one sentence each
};

// Beside the running program, in ../libexec/holm beside its directory, or in HOLM_LIBEXEC_DIR.
std::string find_unpack_program();

// Fills the directory `target` from `source` (both descriptors); throws what the program says is wrong.
UnpackReport run_unpack_program(ImportSource kind, int source, int target, uint64_t max_bytes,
                                uint64_t max_entries, const ReadRules& rules = {});

// What the program writes, and what the caller makes of it: it has read hostile input, so its words are not
// trusted.
std::string encode_report(const UnpackReport& report);
std::string encode_failure(const Error& error);
UnpackReport decode_outcome(std::string_view text, int exit_status);

}  // namespace holm::storage
