#include "netsetup/subnet_file.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace holm::netsetup {
namespace {

constexpr unsigned kVersion = 1;
constexpr size_t kMaxSize = 4096;

Error unreadable(const std::string& path, std::string_view why) {
  Error error(fmt::format("read '{}': {}", path, why));
  error.hint(
      "remove the file: the next start keeps the subnets of a bridge that stands, or chooses new ones");
  return error;
}

}  // namespace

std::string encode_subnets(const Subnets& subnets) {
  return fmt::format("version {}\ngateway4 {}\ngateway6 {}\n", kVersion,
                     format_interface_address(subnets.gateway4), format_interface_address(subnets.gateway6));
}

Subnets decode_subnets(std::string_view text, const std::string& path) {
  const auto words = split_words(text);
  const auto version = words.size() >= 2 && words[0] == "version" ? parse_unsigned(words[1]) : std::nullopt;
  if (!version || *version == 0) throw unreadable(path, "not a file of Holm's network subnets");
  if (*version > kVersion)
    throw Error(fmt::format("read '{}': its format is version {}, and this Holm knows versions up to {}",
                            path, *version, kVersion));
  const bool is_whole = words.size() == 6 && words[2] == "gateway4" && words[4] == "gateway6";
  const auto gateway4 = is_whole ? parse_interface_address(words[3]) : std::nullopt;
  const auto gateway6 = is_whole ? parse_interface_address(words[5]) : std::nullopt;
  if (!gateway4 || !gateway6 || gateway4->family != AF_INET || gateway6->family != AF_INET6)
    throw unreadable(path, "its lines are not 'version', 'gateway4' and 'gateway6' with an address each");
  return {*gateway4, *gateway6};
}

std::optional<Subnets> load_subnets(const std::string& path) {
  const auto text = read_file_if_exists(path, kMaxSize);
  if (!text) return std::nullopt;
  return decode_subnets(*text, path);
}

void save_subnets(const std::string& path, const Subnets& subnets) {
  write_file_durably(path, encode_subnets(subnets));
}

}  // namespace holm::netsetup
