// A container's config file (TOML) becomes a ContainerSpec.
#pragma once

#include <string>
#include <string_view>

#include "runtime/config_check.h"
#include "runtime/spec.h"

namespace holm::runtime {

struct ConfigFile {
  std::string path;
  std::string text;
  ContainerSpec spec;
};

// Parses and checks. `file_name` is for messages; `default_name` is the container's name where the text sets
// none. Everything that is wrong is told in one Error (exit status 2): the first with its place, the others
// as "also:" lines.
ContainerSpec parse_config(std::string_view text, const std::string& file_name,
                           const std::string& default_name, const HostFacts& host);

// Reads a regular file of at most 1 MiB; the default name is the file's name without ".toml".
ConfigFile load_config(const std::string& path, const HostFacts& host);

}  // namespace holm::runtime
