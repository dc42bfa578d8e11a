// Digests of files.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/manifest.h"

namespace holm::checkpoint {

// The parts that are in a checkpoint's directory: all files in it and in its images, but the manifest. With
// their sizes and digests; several are read at once.
std::vector<Part> digest_parts(const std::string& directory, DigestKind kind);

// Throws unless the directory holds exactly the manifest's parts.
void verify_parts(const std::string& directory, const Manifest& manifest);

}  // namespace holm::checkpoint
