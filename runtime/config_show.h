// A spec written out again: as TOML for people (and for parse_config), as JSON for programs.
#pragma once

#include <string>
#include <string_view>

#include "runtime/spec.h"

namespace holm::runtime {

// A complete config file: every key with its default and meaning. Keys without a default are commented out
// and show an example, so that the text is itself a valid config.
std::string show_defaults();

// The effective config as TOML; parse_config makes the same spec of it.
std::string show_spec(const ContainerSpec& spec);

// The same as a JSON object. Sizes are bytes; null stands for "not set"; resource limits are numbers or
// "unlimited".
std::string to_json(const ContainerSpec& spec);

// A TOML basic string, with its quotes.
std::string toml_text(std::string_view text);

// Names of the enumerations as the config file has them.
std::string_view name_of(OnCrash value);
std::string_view name_of(OnReboot value);
std::string_view name_of(OnHostShutdown value);
std::string_view name_of(netsetup::NicMode value);

}  // namespace holm::runtime
