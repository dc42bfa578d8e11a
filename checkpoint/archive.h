// A checkpoint as one file: a tar, compressed with zstd, of its directory; manifest.json first.
#pragma once

#include <string>

#include "checkpoint/manifest.h"
#include "checkpoint/progress.h"

namespace holm::checkpoint {

// Writes the checkpoint in `directory` to the descriptor, from its beginning to its end, compressed on all
// CPUs.
void pack(const std::string& directory, int output, const Progress& progress);

// Reads one from the descriptor into the empty directory. The file is hostile: a confined program reads it.
// What came out of it is not verified yet.
void unpack(int input, const std::string& directory, const Progress& progress);

// What a checkpoint's file says of itself, read in the same way from its beginning on. Nothing of it is
// verified.
Manifest read_manifest_of_file(int input);

}  // namespace holm::checkpoint
