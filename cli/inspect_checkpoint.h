// What a checkpoint holds, for people and programs.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "checkpoint/preflight.h"
#include "cli/command.h"

namespace holm::cli {

void print_manifest(const Globals& globals, const checkpoint::Manifest& manifest);
// Warnings of what is lost of a container that was saved.
void print_losses(const std::string& container, const std::vector<checkpoint::Obstacle>& losses);
void print_checkpoints(const Globals& globals, const runtime::Paths& paths, const std::string& container);

}  // namespace holm::cli
