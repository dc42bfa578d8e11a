// From a directory into a root.
#pragma once

#include "storage/unpack/notes.h"
#include "storage/unpack/root_writer.h"

namespace holm::unpack {

// Copies what is below the directory `source` by the same rules as an archive. No link is followed; what is
// mounted below it, and `target` itself, are left out.
void copy_directory(int source, int target, RootWriter& writer, storage::ImportBudget& budget, Notes& notes);

}  // namespace holm::unpack
