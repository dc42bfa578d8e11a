// Digests of files.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/manifest.h"

namespace holm::checkpoint {

// In hexadecimal, of what is behind the descriptor from its beginning; `name` is for messages.
std::string digest_of(int fd, std::string_view name, DigestKind kind);

// The parts that are in a checkpoint's directory: all files in it and in its images, but the manifest. With
// their sizes and digests; several are read at once.
std::vector<Part> digest_parts(const std::string& directory, DigestKind kind);

// Throws unless the directory holds exactly the manifest's parts.
void verify_parts(const std::string& directory, const Manifest& manifest);

}  // namespace holm::checkpoint
