#include "netsetup/network_settings.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <future>

#include "base/error.h"
#include "base/file.h"
#include "base/namespace_thread.h"
#include "base/text.h"
#include "netsetup/sysctl.h"

namespace holm::netsetup {
namespace {

constexpr const char* kRoot = "/proc/sys/net";
constexpr size_t kMaxValue = 4096;
// Settings of links, which come and go with them.
constexpr std::array<std::string_view, 4> kOfLinks = {"ipv4/conf", "ipv6/conf", "ipv4/neigh", "ipv6/neigh"};
constexpr std::array<const char*, 2> kForeignBinds = {"ipv4/ip_nonlocal_bind", "ipv6/ip_nonlocal_bind"};

// All that its owner may write, of the namespace that the calling thread is in.
NetworkSettings read_all() {
  namespace fs = std::filesystem;
  NetworkSettings all;
  for (auto entry = fs::recursive_directory_iterator(kRoot); entry != fs::end(entry); ++entry) {
    const std::string name = entry->path().string().substr(std::string_view(kRoot).size() + 1);
    if (std::ranges::find(kOfLinks, name) != kOfLinks.end()) entry.disable_recursion_pending();
    if (!entry->is_regular_file()) continue;
    constexpr auto kOwner = fs::perms::owner_read | fs::perms::owner_write;
    if ((entry->status().permissions() & kOwner) != kOwner) continue;
    ignore_errors([&] { all[name] = trim(read_file(entry->path().string(), kMaxValue)); });
  }
  return all;
}

void check_name(const std::string& name) {
  const bool is_plain = std::ranges::all_of(
      name, [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-' || c == '/' || c == '.'; });
  for (const std::string& part : split(name, '/'))
    if (!is_plain || part.empty() || part.front() == '.')
      throw Error(fmt::format("'{}' is no setting of a network", shortened(name)));
}

// Those that could not be written.
NetworkSettings try_to_write(const NetworkSettings& settings) {
  NetworkSettings failed;
  for (const auto& [name, value] : settings) {
    const auto now = read_sysctl("net/" + name);
    if (now == value) continue;
    try {
      write_sysctl("net/" + name, value);
    } catch (const Error&) {
      failed[name] = value;
    }
  }
  return failed;
}

}  // namespace

NetworkSettings read_network_settings(int network_namespace) {
  const auto fresh = std::async(std::launch::async, [] {
                       if (::unshare(CLONE_NEWNET) != 0) throw Error::system("make a network namespace");
                       return read_all();
                     }).get();
  NetworkSettings settings = in_network_namespace(network_namespace, read_all);
  std::erase_if(settings, [&](const auto& setting) {
    const auto other = fresh.find(setting.first);
    return other == fresh.end() || other->second == setting.second;
  });
  return settings;
}

std::vector<std::string> write_network_settings(int network_namespace, const NetworkSettings& settings) {
  for (const auto& [name, value] : settings) check_name(name);
  // A limit may have to go up before another one can.
  const auto failed =
      in_network_namespace(network_namespace, [&] { return try_to_write(try_to_write(settings)); });
  std::vector<std::string> warnings;
  for (const auto& [name, value] : failed)
    warnings.push_back(fmt::format("the network setting 'net/{}' could not be set to '{}' again",
                                   printable(name), shortened(value)));
  return warnings;
}

void allow_foreign_binds(int network_namespace) {
  in_network_namespace(network_namespace, [] {
    for (const char* name : kForeignBinds)
      if (read_sysctl(fmt::format("net/{}", name))) write_sysctl(fmt::format("net/{}", name), "1");
  });
}

void end_foreign_binds(int network_namespace, const NetworkSettings& settings) {
  in_network_namespace(network_namespace, [&] {
    for (const char* name : kForeignBinds) {
      const auto own = settings.find(name);
      const std::string value = own == settings.end() ? "0" : own->second;
      if (read_sysctl(fmt::format("net/{}", name))) write_sysctl(fmt::format("net/{}", name), value);
    }
  });
}

}  // namespace holm::netsetup
