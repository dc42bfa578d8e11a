// The files that a container changed of its template's, as a part of its checkpoint.
#pragma once

#include <string>

#include "checkpoint/manifest.h"
#include "runtime/container_store.h"

namespace holm::checkpoint {

inline constexpr const char* kFilesPart = "files.tar";

// Packs the container's upper layer into the checkpoint's directory. Nothing may change it meanwhile.
void archive_files(const runtime::Paths& paths, const std::string& container, const std::string& directory);

// Unpacks it into an empty directory, for the ids of another container. The archive is hostile: a confined
// program reads it.
void unpack_files(const std::string& directory, const Manifest& manifest,
                  const runtime::StoredContainer& container, const std::string& upper);

}  // namespace holm::checkpoint
