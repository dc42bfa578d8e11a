// Templates from archives and directories that somebody else made.
#pragma once

#include <cstdint>
#include <string>

#include "storage/entry_rules.h"
#include "storage/template_store.h"

namespace holm::storage {

struct ImportOptions {
  std::string source;  // a directory, or a tar file: plain, gzip, bzip2, xz or zstd; "-" is standard input
  uint64_t max_bytes = kDefaultMaxImportBytes;
  uint64_t max_entries = kDefaultMaxImportEntries;
};

// Makes template `name` from a root file system. The source is hostile: what is taken of it says
// entry_rules.h, and it is read by a program that can reach nothing but the new directory. What was left out
// is told to `progress`. Needs root.
TemplateInfo import_template(TemplateStore& store, const std::string& name, const ImportOptions& options,
                             const Progress& progress);

}  // namespace holm::storage
