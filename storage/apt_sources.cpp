#include "storage/apt_sources.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>

#include "base/file.h"
#include "base/text.h"

namespace holm::storage {
namespace {

// Names by which a suite of Debian proper goes; "X-security", "X-updates" and others derive from them.
constexpr std::string_view kDebianSuites[] = {"bullseye",     "bookworm", "trixie",  "forky",
                                              "duke",         "sid",      "stable",  "oldstable",
                                              "oldoldstable", "testing",  "unstable"};

// What a builder needs to know of an archive to trust it as this machine does.
constexpr std::string_view kKeptOptions[] = {"signed-by", "trusted", "check-valid-until"};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string without_final_slash(std::string uri) {
  while (uri.ends_with('/')) uri.pop_back();
  return uri;
}

bool is_no(std::string_view text) {
  const std::string value = lower(text);
  return value == "no" || value == "false" || value == "off" || value == "0" || value == "without" ||
         value == "disable";
}

// "[signed-by=/key arch=amd64]" without its brackets.
std::map<std::string, std::string> parse_options(std::string_view text) {
  std::map<std::string, std::string> options;
  for (const std::string& word : split_words(text)) {
    const size_t equals = word.find('=');
    if (equals != std::string::npos) options[lower(word.substr(0, equals))] = word.substr(equals + 1);
  }
  return options;
}

using Stanza = std::map<std::string, std::string>;

void add_stanza(const Stanza& stanza, std::vector<AptSource>& sources) {
  const auto value = [&](const char* key) {
    const auto found = stanza.find(key);
    return found == stanza.end() ? std::string() : found->second;
  };
  const auto types = split_words(value("types"));
  if (std::find(types.begin(), types.end(), "deb") == types.end() || is_no(trim(value("enabled")))) return;
  std::map<std::string, std::string> options;
  for (const std::string_view key : kKeptOptions) {
    const std::string text(trim(value(std::string(key).c_str())));
    // A key may stand in the file itself, over many lines: only a path can be handed on.
    if (!text.empty() && (key != "signed-by" || (text.starts_with('/') && split_words(text).size() == 1)))
      options[std::string(key)] = text;
  }
  for (const std::string& uri : split_words(value("uris"))) {
    for (const std::string& suite : split_words(value("suites")))
      sources.push_back({without_final_slash(uri), suite, split_words(value("components")), options});
  }
}

bool serves_main(const AptSource& source) {
  return std::find(source.components.begin(), source.components.end(), "main") != source.components.end();
}

bool is_debian_suite(std::string_view suite) {
  return std::find(std::begin(kDebianSuites), std::end(kDebianSuites), suite) != std::end(kDebianSuites);
}

// Other archives use Debian's suite names too: Debian's own are signed with Debian's keys and mirrored as
// ".../debian".
int likelihood(const AptSource& source) {
  int score = 0;
  const auto signer = source.options.find("signed-by");
  if (signer != source.options.end())
    score += signer->second.find("debian-archive") != std::string::npos ? 4 : -1;
  const std::string last = source.uri.substr(source.uri.rfind('/') + 1);
  if (last == "debian" || last == "debian-security" || last.starts_with("debian.")) score += 2;
  return score;
}

const AptSource* likeliest(const std::vector<AptSource>& sources, std::string_view ending) {
  const AptSource* best = nullptr;
  for (const AptSource& source : sources) {
    if (!serves_main(source) || !source.suite.ends_with(ending) || source.uri.starts_with("cdrom:")) continue;
    const std::string_view base =
        std::string_view(source.suite).substr(0, source.suite.size() - ending.size());
    if (!is_debian_suite(base)) continue;
    if (!best || likelihood(source) > likelihood(*best)) best = &source;
  }
  return best;
}

}  // namespace

std::vector<AptSource> parse_one_line_sources(std::string_view text) {
  std::vector<AptSource> sources;
  for (std::string line : split(text, '\n')) {
    line.resize(std::min(line.find('#'), line.size()));
    std::map<std::string, std::string> options;
    const size_t open = line.find('[');
    const size_t close = line.find(']');
    if (open != std::string::npos && close != std::string::npos && open < close &&
        trim(line.substr(0, open)) == "deb") {
      options = parse_options(std::string_view(line).substr(open + 1, close - open - 1));
      line.erase(open, close - open + 1);
    }
    const auto words = split_words(line);
    if (words.size() < 4 || words[0] != "deb") continue;
    std::erase_if(options, [](const auto& option) {
      return std::find(std::begin(kKeptOptions), std::end(kKeptOptions), option.first) ==
             std::end(kKeptOptions);
    });
    sources.push_back({without_final_slash(words[1]), words[2], {words.begin() + 3, words.end()}, options});
  }
  return sources;
}

std::vector<AptSource> parse_deb822_sources(std::string_view text) {
  std::vector<AptSource> sources;
  Stanza stanza;
  std::string key;
  for (const std::string& line : split(text, '\n')) {
    if (line.starts_with('#')) continue;
    if (trim(line).empty()) {
      add_stanza(stanza, sources);
      stanza.clear();
    } else if (line.front() == ' ' || line.front() == '\t') {
      stanza[key] += " " + std::string(trim(line));
    } else if (const size_t colon = line.find(':'); colon != std::string::npos) {
      key = lower(trim(line.substr(0, colon)));
      stanza[key] = trim(line.substr(colon + 1));
    }
  }
  add_stanza(stanza, sources);
  return sources;
}

std::vector<AptSource> read_apt_sources(const std::string& apt_directory) {
  const auto add = [](std::vector<AptSource>& all, std::vector<AptSource> more) {
    all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  };
  std::vector<AptSource> sources =
      parse_one_line_sources(read_file_if_exists(apt_directory + "/sources.list").value_or(""));
  const std::string parts = apt_directory + "/sources.list.d";
  for (const std::string& name : list_directory(parts)) {
    const std::string path = parts + "/" + name;
    if (name.ends_with(".list")) add(sources, parse_one_line_sources(read_file_if_exists(path).value_or("")));
    if (name.ends_with(".sources"))
      add(sources, parse_deb822_sources(read_file_if_exists(path).value_or("")));
  }
  return sources;
}

std::vector<AptSource> choose_debian_sources(const std::vector<AptSource>& sources,
                                             const std::string& codename) {
  std::vector<AptSource> chosen;
  // Without the archive itself its updates are of no use.
  for (const std::string_view ending : {"", "-updates", "-security"}) {
    const AptSource* source = likeliest(sources, ending);
    if (!source && ending.empty()) return {};
    if (!source) continue;
    chosen.push_back(*source);
    chosen.back().suite = codename + std::string(ending);
    chosen.back().components = {"main"};
  }
  return chosen;
}

std::string resolve_mirror_list(
    const std::string& uri, const std::function<std::optional<std::string>(const std::string& path)>& read) {
  constexpr std::string_view kScheme = "mirror+file:";
  if (!uri.starts_with(kScheme)) return uri;
  std::string path = uri.substr(kScheme.size());
  while (path.starts_with("//")) path.erase(0, 1);
  const auto text = read(path);
  for (const std::string& line : split(text.value_or(""), '\n')) {
    const auto words = split_words(line);
    if (!words.empty() && !words[0].starts_with('#')) return without_final_slash(words[0]);
  }
  return uri;
}

std::string without_credentials(const std::string& uri) {
  const size_t scheme = uri.find("://");
  if (scheme == std::string::npos) return uri;
  const size_t host = scheme + 3;
  const size_t at = uri.substr(0, uri.find('/', host)).rfind('@');
  if (at == std::string::npos || at < host) return uri;
  return uri.substr(0, host) + uri.substr(at + 1);
}

std::string builder_line(const AptSource& source, const std::string& fallback_keyring) {
  std::map<std::string, std::string> options = source.options;
  if (!options.contains("signed-by") && !options.contains("trusted") && !fallback_keyring.empty())
    options["signed-by"] = fallback_keyring;
  std::string text;
  for (const auto& [key, value] : options)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, value);
  return fmt::format("deb {}{} {} {}", text.empty() ? "" : "[" + text + "] ", source.uri, source.suite,
                     join(source.components, " "));
}

std::string template_line(const AptSource& source) {
  return fmt::format("deb {} {} {}", without_credentials(source.uri), source.suite,
                     join(source.components, " "));
}

}  // namespace holm::storage
