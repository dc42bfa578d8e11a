// From a tar stream into a root.
#pragma once

#include "storage/unpack/notes.h"
#include "storage/unpack/root_writer.h"

namespace holm::unpack {

// Reads the archive at descriptor `fd` to its end: plain, gzip, bzip2, xz or zstd. Throws where it is no tar
// archive, is damaged or cut off, or holds what has no place in a template.
void read_archive(int fd, RootWriter& writer, const storage::ReadRules& rules, storage::ImportBudget& budget,
                  Notes& notes);

}  // namespace holm::unpack
