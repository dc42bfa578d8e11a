// How far the config in a checkpoint is believed: it is the word of whoever made the file.
#pragma once

#include <string>

#include "checkpoint/manifest.h"
#include "runtime/container_store.h"

namespace holm::checkpoint {

// Of a container that the file alone tells of: throws where its config asks for anything of the host that a
// container does not have by default, and names all of it.
void require_trustworthy(const runtime::ContainerSpec& spec);

// Of a container that is there: its own config counts. Throws where that has not the shape that the processes
// were saved in: mounts, interfaces, user namespace.
void require_same_shape(const runtime::ContainerSpec& local, const runtime::ContainerSpec& saved);

// Throws unless the files of the container may be replaced: it is the one that was saved, or has none of its
// own yet.
void require_place_for(const runtime::Installation& installation, const std::string& name,
                       const Manifest& manifest);

}  // namespace holm::checkpoint
