#include "storage/template_info.h"

#include <fmt/core.h>

#include <ctime>

// The headers alone, with the same options as where config files are read: Debian's shared library would
// bring a second C++ runtime along.
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 1
#define TOML_ENABLE_FORMATTERS 0
#define TOML_ENABLE_UNRELEASED_FEATURES 0
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wconversion"
#include <toml++/toml.h>
#pragma GCC diagnostic pop

#include "base/error.h"

namespace holm::storage {
namespace {

std::string text_of(const toml::table& table, std::string_view key) {
  const toml::node* node = table.get(key);
  if (!node) return {};
  const auto value = node->value<std::string>();
  if (!value || !node->is_string()) throw Error(fmt::format("'{}' is not a text", key));
  return *value;
}

std::vector<std::string> texts_of(const toml::table& table, std::string_view key) {
  std::vector<std::string> texts;
  const toml::node* node = table.get(key);
  if (!node) return texts;
  const toml::array* array = node->as_array();
  if (!array) throw Error(fmt::format("'{}' is not a list", key));
  for (const toml::node& element : *array) {
    if (!element.is_string()) throw Error(fmt::format("'{}' is not a list of texts", key));
    texts.push_back(element.value<std::string>().value_or(""));
  }
  return texts;
}

int format_of(const toml::table& table) {
  const toml::node* node = table.get("format");
  if (!node || !node->is_integer()) throw Error("'format' is missing");
  const int64_t format = node->value<int64_t>().value_or(0);
  if (format > kTemplateFormat)
    throw Error(
        fmt::format("format {} is newer than this version of Holm knows ({})", format, kTemplateFormat))
        .hint("use the version of Holm that made it, or a later one");
  if (format < 1) throw Error(fmt::format("format {} is not known", format));
  return static_cast<int>(format);
}

bool is_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at++]);
    const int more = first < 0x80                    ? 0
                     : first >= 0xc2 && first < 0xe0 ? 1
                     : first >= 0xe0 && first < 0xf0 ? 2
                     : first >= 0xf0 && first < 0xf5 ? 3
                                                     : -1;
    if (more < 0) return false;
    for (int i = 0; i < more; ++i, ++at) {
      if (at >= text.size() || (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80) return false;
    }
  }
  return true;
}

// TOML is UTF-8; a path need not be.
std::string quoted(std::string_view text) {
  const bool keep = is_utf8(text);
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04X}", byte);
    } else {
      out += byte >= 0x80 && !keep ? '?' : c;
    }
  }
  return out + '"';
}

}  // namespace

std::string format_template_info(const TemplateInfo& info) {
  std::string text = fmt::format("format = {}\nkind = {}\nsource = {}\ncreated = {}\n", info.format,
                                 quoted(info.kind), quoted(info.source), quoted(info.created));
  if (!info.suite.empty()) text += fmt::format("suite = {}\n", quoted(info.suite));
  std::string packages;
  for (const std::string& package : info.packages)
    packages += (packages.empty() ? "" : ", ") + quoted(package);
  if (!packages.empty()) text += fmt::format("packages = [{}]\n", packages);
  return text;
}

TemplateInfo parse_template_info(std::string_view text) {
  try {
    const toml::table table = toml::parse(text);
    TemplateInfo info;
    info.format = format_of(table);
    info.kind = text_of(table, "kind");
    info.source = text_of(table, "source");
    info.suite = text_of(table, "suite");
    info.packages = texts_of(table, "packages");
    info.created = text_of(table, "created");
    return info;
  } catch (const toml::parse_error& error) {
    const toml::source_position at = error.source().begin;
    throw Error(fmt::format("{}:{}: {}", at.line, at.column, error.description()));
  }
}

std::string timestamp_now() {
  const std::time_t now = std::time(nullptr);
  std::tm broken_down = {};
  ::gmtime_r(&now, &broken_down);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &broken_down);
  return text;
}

}  // namespace holm::storage
