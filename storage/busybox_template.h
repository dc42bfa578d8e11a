// The embedded template: one static busybox and the few files that make a system of it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/template_store.h"

namespace holm::storage {

// Makes template `name` from the host's static busybox (or from `program`). Throws with a hint where there is
// none.
TemplateInfo build_busybox(TemplateStore& store, const std::string& name, const std::string& program = {});

// --- for tests
// An ELF program without an interpreter: the first bytes of the file decide.
bool is_static_program(std::string_view first_bytes);
// Links {path, target} for the applets that `busybox --list-full` prints: {"usr/bin/awk",
// "../../bin/busybox"}. Names that are not plain files of a program directory, and busybox itself, are left
// out.
std::vector<std::pair<std::string, std::string>> plan_applet_links(std::string_view list_full);

}  // namespace holm::storage
