// What a checkpoint holds, for people and programs.
#pragma once

#include <string>

#include "checkpoint/manifest.h"
#include "cli/command.h"

namespace holm::cli {

void print_manifest(const Globals& globals, const checkpoint::Manifest& manifest);
void print_checkpoints(const Globals& globals, const runtime::Paths& paths, const std::string& container);

}  // namespace holm::cli
