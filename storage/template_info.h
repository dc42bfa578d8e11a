// What is known about a template: the content of its template.toml.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace holm::storage {

inline constexpr int kTemplateFormat = 1;

// A read-only root file system that containers are stacked on.
struct TemplateInfo {
  std::string name;                   // the directory's name; not in the file
  std::string root;                   // path of the root file system; not in the file
  std::string kind;                   // "busybox", "debian", "import"
  std::string source;                 // where it came from: a program, an apt URI, a path
  std::string suite;                  // debian only
  std::vector<std::string> packages;  // debian only: what was asked for beyond the base system
  std::string created;                // UTC, ISO 8601
  int format = kTemplateFormat;
};

std::string format_template_info(const TemplateInfo& info);
// Throws where the text is no template.toml of this version or an older one. Keys that an older version did
// not have stay empty; keys that are unknown are left alone.
TemplateInfo parse_template_info(std::string_view text);

// The present time as template.toml has it: "2026-11-20T12:34:56Z".
std::string timestamp_now();

}  // namespace holm::storage
