#include "netsetup/resolver.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/text.h"

namespace holm::netsetup {
namespace {

constexpr size_t kMaxNameservers = 3;  // resolv.conf(5): further ones are ignored

struct ResolvConf {
  std::vector<std::string> nameservers;  // usable ones
  std::vector<std::string> search;
  std::vector<std::string> options;
};

bool is_usable(std::string_view nameserver) {
  const auto address = parse_host_address(nameserver);  // nothing for one with a zone
  if (!address) return false;
  const auto& bytes = address->bytes;
  if (address->family == AF_INET) return bytes[0] != 127 && bytes[0] != 0;
  const bool is_link_local = bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
  const bool is_unspecified_or_loopback =
      std::all_of(bytes.begin(), bytes.end() - 1, [](uint8_t byte) { return byte == 0; }) && bytes[15] <= 1;
  return !is_link_local && !is_unspecified_or_loopback;
}

ResolvConf parse(std::string_view text) {
  ResolvConf out;
  for (const std::string& line : split(text, '\n')) {
    std::vector<std::string> words = split_words(line);
    if (words.size() < 2) continue;
    const std::string key = words.front();
    words.erase(words.begin());
    if (key == "nameserver" && is_usable(words.front())) out.nameservers.push_back(words.front());
    if (key == "search" || key == "domain") out.search = words;  // the last line wins
    // A container cannot trust what its host trusts on its own loopback.
    if (key == "options") {
      std::erase(words, "trust-ad");
      out.options.insert(out.options.end(), words.begin(), words.end());
    }
  }
  return out;
}

}  // namespace

std::string make_resolv_conf(const ResolverSources& sources) {
  ResolvConf conf = parse(sources.host);
  if (conf.nameservers.empty() && sources.systemd_upstream) {
    const ResolvConf upstream = parse(*sources.systemd_upstream);
    conf.nameservers = upstream.nameservers;
    if (conf.search.empty()) conf.search = upstream.search;
  }
  if (!sources.nameservers.empty()) conf.nameservers = sources.nameservers;
  if (conf.nameservers.size() > kMaxNameservers) conf.nameservers.resize(kMaxNameservers);

  std::string out;
  if (conf.nameservers.empty()) out += "# the host has no name server that a container could reach\n";
  for (const std::string& nameserver : conf.nameservers) out += fmt::format("nameserver {}\n", nameserver);
  if (!conf.search.empty()) out += fmt::format("search {}\n", join(conf.search, " "));
  if (!conf.options.empty()) out += fmt::format("options {}\n", join(conf.options, " "));
  return out;
}

std::string make_hosts(std::string_view hostname, const std::vector<InterfaceAddress>& addresses) {
  std::string names(hostname);
  if (const size_t dot = hostname.find('.'); dot != std::string_view::npos)
    names += fmt::format(" {}", hostname.substr(0, dot));
  std::string out =
      "127.0.0.1 localhost\n"
      "::1 localhost ip6-localhost ip6-loopback\n"
      "ff02::1 ip6-allnodes\n"
      "ff02::2 ip6-allrouters\n";
  if (names.empty()) return out;
  if (addresses.empty()) return out + fmt::format("127.0.1.1 {}\n", names);
  for (const InterfaceAddress& address : addresses)
    out += fmt::format("{} {}\n", format_host_address(address), names);
  return out;
}

}  // namespace holm::netsetup
