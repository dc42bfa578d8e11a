#include "checkpoint/preflight_host.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "checkpoint/criu.h"

namespace holm::checkpoint {
namespace {

// Where CRIU looks for the programs that it calls: PATH, as `Criu` gives it.
constexpr std::array<const char*, 6> kProgramDirectories = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                                            "/usr/bin",        "/sbin",          "/bin"};

bool has_program(const std::string& name) {
  for (const char* directory : kProgramDirectories)
    if (::access(fmt::format("{}/{}", directory, name).c_str(), X_OK) == 0) return true;
  return false;
}

struct Version {
  uint64_t major = 0;
  uint64_t minor = 0;
  auto operator<=>(const Version&) const = default;
};

Version parse_version(std::string_view text) {
  const auto take = [&]() -> uint64_t {
    const size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
    const auto number = parse_unsigned(text.substr(0, end)).value_or(0);
    text.remove_prefix(std::min(end + 1, text.size()));
    return number;
  };
  const uint64_t first = take();
  return {first, take()};
}

Finding missing(const char* program, const char* package, const char* for_what) {
  return {Severity::obstacle, fmt::format("program '{}'", program),
          fmt::format("the host does not have it, and CRIU calls it for {}", for_what),
          fmt::format("install '{}'", package)};
}

}  // namespace

// As scripts/setup-criu has it: criu#2705, criu#2718; the last by their sources.
std::optional<Finding> judge_criu(std::string_view version, std::string_view kernel, const HostNeeds& needs) {
  const Version criu = parse_version(version), linux_version = parse_version(kernel);
  const auto too_old = [&](const char* why) {
    return Finding{Severity::obstacle, fmt::format("CRIU {}", version),
                   fmt::format("{} on Linux {}.{}", why, linux_version.major, linux_version.minor),
                   "run scripts/setup, which puts one that fits this kernel beside the system's"};
  };
  if (linux_version >= Version{6, 13} && criu < Version{4, 0}) return too_old("it does not start");
  if (linux_version >= Version{6, 16} && criu < Version{4, 2} && needs.has_internet_sockets)
    return too_old("it cannot save sockets of TCP and UDP");
  if (criu < Version{4, 2} && needs.has_ping_sockets) return too_old("it cannot save ICMP sockets");
  return std::nullopt;
}

std::string find_criu_version(const std::string& program) {
  constexpr std::string_view kEnd = "/bin/criu", kKey = "criu=";
  if (program.ends_with(kEnd)) {
    const std::string prefix = program.substr(0, program.size() - kEnd.size());
    for (const std::string& line : split(read_file_if_exists(prefix + "/installed").value_or(""), '\n'))
      if (line.starts_with(kKey)) return line.substr(kKey.size());
  }
  return criu_version(program);
}

std::vector<Finding> judge_host(const HostNeeds& needs) {
  std::vector<Finding> findings;
  try {
    utsname names = {};
    ::uname(&names);
    if (auto finding = judge_criu(find_criu_version(find_criu()), names.release, needs))
      findings.push_back(std::move(*finding));
  } catch (const Error& error) {
    findings.push_back({Severity::obstacle, "CRIU", error.message(),
                        error.hints().empty() ? "run scripts/setup" : error.hints().front()});
  }
  if (needs.has_network && !has_program("ip"))
    findings.push_back(missing("ip", "iproute2", "addresses and routes"));
  if (needs.has_tmpfs && !has_program("tar")) findings.push_back(missing("tar", "tar", "what a tmpfs holds"));
  if (needs.has_iptables && !has_program("iptables-legacy-save") && !has_program("iptables-save"))
    findings.push_back(
        {Severity::warning, "iptables rules",
         "they are not nftables, and CRIU saves such by the host's iptables-save, which is not there",
         "install 'iptables'"});
  if (::syscall(SYS_kcmp, ::getpid(), ::getpid(), KCMP_VM, 0, 0) != 0 && errno == ENOSYS)
    findings.push_back({Severity::obstacle, "this kernel", "it was built without kcmp(2), which CRIU needs",
                        "boot one with CONFIG_KCMP"});
  return findings;
}

bool may_read_limits() {
  for (const std::string& line : split(read_file("/proc/self/status"), '\n')) {
    if (!line.starts_with("CapEff:")) continue;
    const std::string mask(trim(std::string_view(line).substr(7)));
    return (std::strtoull(mask.c_str(), nullptr, 16) >> CAP_SYS_RESOURCE & 1) != 0;
  }
  return false;
}

}  // namespace holm::checkpoint
