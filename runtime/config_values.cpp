#include "runtime/config_values.h"

#include <fmt/core.h>
#include <limits.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace holm::runtime {
namespace {

constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view kDigits = "0123456789";
constexpr uint64_t kMaxId = 65535;

bool has_control_characters(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

bool is_letter_or_digit(char c) {
  return kLetters.find(c) != std::string_view::npos || kDigits.find(c) != std::string_view::npos;
}

// A number within the container's ids, or a name as useradd(8) takes it, with upper case and dots.
bool is_user_or_group(std::string_view text) {
  if (text.empty() || text.size() > 32) return false;
  if (text.find_first_not_of(kDigits) == std::string_view::npos) {
    const auto id = parse_unsigned(text);
    return id && *id <= kMaxId && (text.size() == 1 || text.front() != '0');
  }
  if (kLetters.find(text.front()) == std::string_view::npos && text.front() != '_') return false;
  return std::ranges::all_of(
      text, [](char c) { return is_letter_or_digit(c) || c == '_' || c == '-' || c == '.'; });
}

// The host part of an address as all zeros or all ones.
bool is_host_part(const netsetup::InterfaceAddress& address, bool ones) {
  const unsigned bits = address.family == AF_INET ? 32 : 128;
  for (unsigned bit = address.prefix_length; bit < bits; ++bit)
    if (((address.bytes[bit / 8] >> (7 - bit % 8)) & 1) != (ones ? 1 : 0)) return false;
  return true;
}

bool is_zero(const netsetup::InterfaceAddress& address) {
  return std::ranges::all_of(address.bytes, [](uint8_t byte) { return byte == 0; });
}

// capabilities(7), for suggestions only; what the host knows is asked of libcap.
constexpr std::array<std::string_view, 41> kCapabilities = {"chown",
                                                            "dac_override",
                                                            "dac_read_search",
                                                            "fowner",
                                                            "fsetid",
                                                            "kill",
                                                            "setgid",
                                                            "setuid",
                                                            "setpcap",
                                                            "linux_immutable",
                                                            "net_bind_service",
                                                            "net_broadcast",
                                                            "net_admin",
                                                            "net_raw",
                                                            "ipc_lock",
                                                            "ipc_owner",
                                                            "sys_module",
                                                            "sys_rawio",
                                                            "sys_chroot",
                                                            "sys_ptrace",
                                                            "sys_pacct",
                                                            "sys_admin",
                                                            "sys_boot",
                                                            "sys_nice",
                                                            "sys_resource",
                                                            "sys_time",
                                                            "sys_tty_config",
                                                            "mknod",
                                                            "lease",
                                                            "audit_write",
                                                            "audit_control",
                                                            "setfcap",
                                                            "mac_override",
                                                            "mac_admin",
                                                            "syslog",
                                                            "wake_alarm",
                                                            "block_suspend",
                                                            "audit_read",
                                                            "perfmon",
                                                            "bpf",
                                                            "checkpoint_restore"};

}  // namespace

bool is_hostname(std::string_view text) {
  constexpr size_t kMaxHostname = 64;  // the kernel's __NEW_UTS_LEN
  if (text.empty() || text.size() > kMaxHostname || text.back() == '.') return false;
  return std::ranges::all_of(split(text, '.'), [](const std::string& label) { return is_dns_label(label); });
}

bool is_user(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return is_user_or_group(text);
  return is_user_or_group(text.substr(0, colon)) && is_user_or_group(text.substr(colon + 1));
}

bool is_absolute_path(std::string_view text) {
  return text.starts_with('/') && text.size() < PATH_MAX && !has_control_characters(text);
}

std::optional<std::string> normal_path(std::string_view text) {
  std::string out;
  for (const std::string& component : split(text, '/')) {
    if (component == "..") return std::nullopt;
    if (component.empty() || component == ".") continue;
    out += '/' + component;
  }
  return out.empty() ? "/" : out;
}

bool is_mount_target(std::string_view text) {
  if (!is_absolute_path(text)) return false;
  const auto path = normal_path(text);
  if (!path || *path == "/" || *path == "/dev") return false;
  for (std::string_view kernel_tree : {"/proc", "/sys"})
    if (*path == kernel_tree || path->starts_with(fmt::format("{}/", kernel_tree))) return false;
  return true;
}

bool is_interface_name(std::string_view text) {
  constexpr size_t kMaxName = 15;  // IFNAMSIZ without the final NUL
  if (text.empty() || text.size() > kMaxName || text.front() == '.' || text.front() == '-') return false;
  // "all" and "default" are directories of /proc/sys/net/*/conf beside those of the interfaces.
  if (text == "lo" || text == "all" || text == "default") return false;
  return std::ranges::all_of(
      text, [](char c) { return is_letter_or_digit(c) || c == '_' || c == '-' || c == '.'; });
}

bool is_environment_name(std::string_view text) {
  return !text.empty() && text.find('=') == std::string_view::npos &&
         text.find('\0') == std::string_view::npos;
}

bool is_unicast(const netsetup::MacAddress& mac) {
  return (mac.bytes[0] & 1) == 0 && mac != netsetup::MacAddress{};
}

std::string why_no_interface_address(const netsetup::InterfaceAddress& address) {
  const bool is_v4 = address.family == AF_INET;
  const unsigned bits = is_v4 ? 32 : 128;
  netsetup::InterfaceAddress v6_loopback;
  v6_loopback.bytes[15] = 1;
  if (is_zero(address)) return "is the unspecified address";
  if (is_v4 ? address.bytes[0] == 127 : address.bytes == v6_loopback.bytes) return "is a loopback address";
  if (is_v4 ? address.bytes[0] >= 224 : address.bytes[0] == 0xff) return "is not a unicast address";
  if (address.prefix_length == 0) return "has a prefix length of 0";
  if (address.prefix_length + 1 >= bits) return "";
  if (is_host_part(address, false)) return "is the network itself, not an address in it";
  if (is_v4 && is_host_part(address, true)) return "is the broadcast address of its network";
  return "";
}

std::string hint_for_capability(std::string_view text) {
  if (text.empty() || text.size() > 32) return "";
  const bool has_sign = text.front() == '+' || text.front() == '-';
  std::string name(has_sign ? text.substr(1) : text);
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (name.starts_with("cap_")) name.erase(0, 4);
  const auto meant = nearest(name, kCapabilities);
  return meant ? fmt::format("did you mean \"{}{}\"?", has_sign ? text.front() : '+', *meant) : "";
}

}  // namespace holm::runtime
