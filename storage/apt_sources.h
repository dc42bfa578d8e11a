// Where this machine's apt gets Debian from.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace holm::storage {

// One archive, suite and set of components that apt fetches binary packages from.
struct AptSource {
  std::string uri;  // without a final '/'
  std::string suite;
  std::vector<std::string> components;
  std::map<std::string, std::string> options;  // by deb822 name in lower case: "signed-by", "trusted", ...

  bool operator==(const AptSource&) const = default;
};

// sources.list(5): lines "deb [option=value ...] URI SUITE COMPONENT...". What is no such line is left out.
std::vector<AptSource> parse_one_line_sources(std::string_view text);
// The same in deb822 stanzas; disabled ones are left out, an embedded key (not a path) is dropped.
std::vector<AptSource> parse_deb822_sources(std::string_view text);
// /etc/apt/sources.list and sources.list.d of this machine.
std::vector<AptSource> read_apt_sources(const std::string& apt_directory = "/etc/apt");

// The sources for a Debian of release `codename` ("trixie"): the archive that serves Debian's main here, with
// the security and update suites where this machine has them. Empty where no source serves Debian.
std::vector<AptSource> choose_debian_sources(const std::vector<AptSource>& sources,
                                             const std::string& codename);

// "mirror+file:/etc/apt/mirrors/debian.list" stands for the URIs in that file: its first. Others stay as they
// are.
std::string resolve_mirror_list(
    const std::string& uri, const std::function<std::optional<std::string>(const std::string& path)>& read);

// "http://user:secret@host/debian" without "user:secret@".
std::string without_credentials(const std::string& uri);

// "deb [signed-by=/path] URI SUITE main" with the options that a builder needs (`fallback_keyring` where the
// source names none and it is not empty), and as it may stand in a template: without options and credentials.
std::string builder_line(const AptSource& source, const std::string& fallback_keyring);
std::string template_line(const AptSource& source);

}  // namespace holm::storage
