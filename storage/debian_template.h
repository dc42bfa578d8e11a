// A small bootable Debian, made by mmdebstrap or debootstrap from the machine's own apt source.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "storage/apt_sources.h"
#include "storage/template_store.h"

namespace holm::storage {

struct DebianOptions {
  std::string suite = "bookworm";     // or "trixie"
  std::vector<std::string> packages;  // beyond the base system
};

// Makes template `name`; takes about a minute, told line by line to `progress`. Needs root and the network.
TemplateInfo build_debian(TemplateStore& store, const std::string& name, const DebianOptions& options,
                          const Progress& progress);

// --- for tests
// Throws a usage error where the suite or a package's name is none.
void check_debian_options(const DebianOptions& options);
// The builder's command line; `builder` is the path of mmdebstrap or debootstrap.
std::vector<std::string> debian_command(const std::string& builder, const DebianOptions& options,
                                        const std::vector<AptSource>& sources, const std::string& keyring,
                                        const std::string& root);
// "http_proxy=..." from what `apt-config dump` prints.
std::vector<std::string> proxy_environment(std::string_view apt_config);

}  // namespace holm::storage
